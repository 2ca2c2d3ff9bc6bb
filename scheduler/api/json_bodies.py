"""JSON bodies: their size and depth are checked first; then they are parsed and validated outside the event loop.

A body of a few megabytes can hold hundreds of thousands of values. Parsing and validating that many in the event loop
would block all other requests. So the values are counted in the raw bytes first, which takes a few milliseconds.
"""

import json
import math
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NoReturn

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from scheduler.api import threads
from scheduler.domain.errors import MalformedJsonError, TooLargeError

#: The largest useful request has about 1,400.
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 32
#: A double has 17 significant digits. Longer numbers are slow to parse and make messages long.
_MAX_DIGITS: Final = 100
_LARGEST_INTEGER: Final = 2**64
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class JsonRoute(APIRoute):
    """A route whose JSON body is read by this module."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests, which checks the JSON that it reads."""
        handler, field = super().get_route_handler(), self.body_field
        if field is None:
            return handler

        def validate(body: bytes) -> Any:
            value, errors = field.validate(parse(body), loc=("body",))
            if errors:
                raise RequestValidationError(errors)
            return value

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request, validate))

        return handle


class _JsonRequest(Request):
    """A request whose `json` is the validated model; FastAPI does not validate it again."""

    def __init__(self, request: Request, validate: Callable[[bytes], Any]) -> None:
        super().__init__(request.scope, request.receive)
        self._validate = validate

    async def json(self) -> Any:
        """Return the model."""
        return await threads.parse(self._validate, await self.body())


def parse(body: bytes) -> Any:
    """Parse a JSON text in UTF-8.

    Raises TooLargeError if there are more than MAX_VALUES values. Raises MalformedJsonError if the text is not JSON, is
    nested deeper than MAX_DEPTH, repeats a key or has a number that exceeds 64 bits. Raises RequestValidationError for
    a string that databases cannot store.
    """
    measure(body)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"The body is not valid UTF-8: see byte {error.start:,}.") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_float,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedJsonError(f"The body is not valid JSON{where}.") from error
    _check_texts(value, ("body",))
    return value


def measure(body: bytes) -> None:
    """Raise TooLargeError if a JSON text has too many values, MalformedJsonError if it is nested too deeply.

    The time is linear in the size, even for invalid JSON.
    """
    # Every string is a key or a value, and has two quotes.
    plain = _ESCAPED.sub(b"", body) if b"\\" in body else body
    if plain.count(b'"') > 4 * MAX_VALUES:
        raise _too_many()
    outside = b"".join(plain.split(b'"')[::2])
    brackets = outside.translate(None, _NOT_BRACKETS)
    depth = 0
    for bracket in brackets[: 4 * MAX_VALUES]:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedJsonError(f"The body is nested more than {MAX_DEPTH} levels deep.")
    if outside.count(b",") + outside.count(b"[") + outside.count(b"{") > MAX_VALUES:
        raise _too_many()


def _too_many() -> TooLargeError:
    return TooLargeError(f"A request's body may have at most {MAX_VALUES:,} JSON values.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedJsonError(f"The body has the key {shortened(key)!a} twice in one object.")
            seen.add(key)
    return found


def _no_number(name: str) -> NoReturn:
    raise MalformedJsonError(f"The body has {name}, which is not a valid JSON number.")


def _integer(text: str) -> int:
    # Check the length first, because int() takes quadratic time.
    if len(text) <= _MAX_DIGITS and abs(value := int(text)) < _LARGEST_INTEGER:
        return value
    raise MalformedJsonError("The body has an integer that does not fit in 64 bits.")


def _float(text: str) -> float:
    if len(text) <= _MAX_DIGITS and math.isfinite(value := float(text)):
        return value
    raise MalformedJsonError("The body has a number that does not fit in 64 bits.")


def _check_texts(value: Any, place: Sequence[str | int]) -> None:
    """Raise RequestValidationError if a string has a NUL character or an unpaired surrogate.

    `place` is the path of the value.
    """
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise RequestValidationError([{"type": "unstorable", "loc": tuple(place), "msg": UNSTORABLE}])
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _check_texts(each, (*place, number))
    elif isinstance(value, dict):
        for key, each in value.items():
            _check_texts(key, (*place, key))
            _check_texts(each, (*place, key))


UNSTORABLE: Final = "The text has a NUL character or an unpaired surrogate."


def shortened(text: str, most: int = 80) -> str:
    """Return a text, cut off after `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
