"""The id of a request, for its response and for all of its log lines."""

import re
import secrets

_PATTERN = re.compile(r"[\w.-]{1,64}", re.ASCII)


def choose_id(given: str | None) -> str:
    """Return the client's id for the request if it is valid, otherwise a new id."""
    if given is not None and _PATTERN.fullmatch(given):
        return given
    return f"req_{secrets.token_hex(12)}"
