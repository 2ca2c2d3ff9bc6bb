"""What requests to the API say: addresses, bodies and headers."""

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from nst_core.client.errors import UnreachableError
from nst_core.client.resources.base import Request
from nst_core.errors import ConfigError

#: Entries of a page of a list.
PAGE = 200
_PATIENCE_S = 30.0
#: The longest part of a path, and the longest query. httpx takes addresses of 64 KiB, where a byte may be %FF.
_PART_BYTES, _QUERY_BYTES = 4 << 10, 16 << 10
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def http_options(url: str, api_key: str, *, timeout_s: float) -> dict[str, Any]:
    """Return how to connect to an API; raise UnreachableError if the key is invalid, ValueError if the address is."""
    key = api_key.strip()  # one that was read from a file may end in a line break
    if not all("!" <= letter <= "~" for letter in key):
        raise UnreachableError("The API key has characters that no key has.")
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": httpx.Timeout(timeout_s, connect=5.0),
        # A proxy of the environment knows nothing of this machine's own ports.
        "trust_env": urlsplit(url).hostname not in _LOOPBACK,
    }


def path_of(*parts: str) -> str:
    """Return a path below /v1, with parts such as ids as addresses have them; raise ConfigError for an empty one.

    Without it, the path would be that of something else, and so it would with . and .. .
    """
    for part in parts:
        if part in ("", ".", ".."):
            raise ConfigError(f"{part!r} is not a valid id or name.")
    return "/".join(["/v1", *(quote(_text(part), safe="") for part in parts)])


def upload_path(upload_id: str, name: str) -> str:
    """Return the path for a file; slashes in its name separate folders."""
    return f"{path_of('uploads', upload_id)}/{quote(_text(name), safe='/')}"


def query_of(**values: Any) -> dict[str, str | int]:
    """Return a query without None values; times without a time zone get that of this machine.

    Raises ConfigError for what no query can have.
    """
    query: dict[str, str | int] = {}
    for name, value in values.items():
        if isinstance(value, datetime):
            query[name] = in_utc(value).isoformat()
        elif value is not None:
            plain = value.value if isinstance(value, Enum) else value
            query[name] = plain
    _text("".join(f"{name}{value}" for name, value in query.items()), most_bytes=_QUERY_BYTES)
    return query


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; one without a time zone is of this machine. Raises ConfigError if UTC has no such time."""
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:  # what the C library says of the first and last years
        raise ConfigError(f"The time {moment.isoformat()} is too early or too late.") from error


def once_only(idempotency_key: str | None = None) -> dict[str, str]:
    """Return the header that makes a request safe to repeat; by default, its key is a new one."""
    key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
    if not 1 <= len(key) <= 255 or not all("!" <= letter <= "~" for letter in key):
        raise ConfigError("An idempotency key has 1 to 255 letters, digits and signs of ASCII, and no spaces.")
    return {"Idempotency-Key": key}


def digest_header(sha256: str | None) -> dict[str, str]:
    """Return the header by which the API checks a body (RFC 9530), from a SHA-256 hash in hexadecimal digits."""
    if sha256 is None:
        return {}
    return {"Content-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"}


def waiting(wait_s: int | None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the options of a call whose answer waits for the end of a job."""
    if wait_s is None:
        return {"headers": dict(headers or {})}
    # The answer comes later than others do, so the patience has to be longer.
    return {"headers": {**(headers or {}), "Prefer": f"wait={wait_s}"}, "timeout": wait_s + _PATIENCE_S}


def body_of(request: Request) -> dict[str, Any]:
    """Return a request as JSON; raise ConfigError if it has a value that JSON has not, such as an infinite number.

    Fields that were not set are left to the API.
    """
    try:
        body = request.model_dump(mode="json", exclude_unset=True)
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        reason = "a number that is too large, a text with half a character, or too many levels"
        raise ConfigError(f"The request cannot be sent: it has {reason}.") from error
    return body


def _text(text: str, *, most_bytes: int = _PART_BYTES) -> str:
    """Return a text for an address; raise ConfigError if it is too long or was not UTF-8."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"{text!r} is not valid UTF-8.") from None
    if size > most_bytes:
        raise ConfigError(f"A text of {size:,} bytes is too long: {text[:40]!r} and so on.")
    return text
