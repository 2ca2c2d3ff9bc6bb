"""The id of the request in hand: in its answer, and in every line of the log that is about it."""

import logging
import re
import secrets
from contextvars import ContextVar

#: Empty outside of requests. Threads that work for a request have it too.
request_id: ContextVar[str] = ContextVar("request_id", default="")
_PATTERN = re.compile(r"[\w.-]{1,64}", re.ASCII)


def choose_id(given: str | None) -> str:
    """Return the id that a client gave its request, or another one where it gave none that can be used."""
    if given is not None and _PATTERN.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(12)}"


class RequestIdFilter(logging.Filter):
    """Gives every record a field `request`: the id in brackets, or nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all records pass."""
        found = request_id.get()
        record.request = f" [{found}]" if found else ""
        return True
