"""The id of the current request, for its response and for all of its log lines."""

import logging
import re
import secrets
from contextvars import ContextVar

#: Empty outside requests. Threads that handle a request inherit it.
request_id: ContextVar[str] = ContextVar("request_id", default="")
_PATTERN = re.compile(r"[\w.-]{1,64}", re.ASCII)


def choose_id(given: str | None) -> str:
    """Return the client's id for the request if it is valid, otherwise a new id."""
    if given is not None and _PATTERN.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(12)}"


class RequestIdFilter(logging.Filter):
    """Adds the field `request` to log records: the id in brackets, or an empty string."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Accept all records."""
        found = request_id.get()
        record.request = f" [{found}]" if found else ""
        return True
