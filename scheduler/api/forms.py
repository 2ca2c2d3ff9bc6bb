"""The request that submits a training: JSON that names a painting in storage, or a form that contains the painting."""

import asyncio
from collections.abc import AsyncGenerator
from typing import IO, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from nst_core.client.resources.runs import TrainRequest
from nst_core.training.paintings import MAX_PAINTING_BYTES
from scheduler.api import threads
from scheduler.api.json_bodies import parse
from scheduler.api.spools import fill, new_spool
from scheduler.domain.addresses import storable
from scheduler.domain.errors import RequestInvalidError, TooLargeError
from scheduler.runs.paintings import POINTER, Painting, too_large

#: The limit for the JSON, without the painting.
MAX_JSON_BYTES = 2**20
_MAX_FILE_NAME = 255
_PIECE_BYTES = 2**18
#: The description of the body for OpenAPI, because FastAPI cannot derive it from a signature.
OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/TrainRequest"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["painting", "request"],
                    "properties": {
                        "painting": {"type": "string", "format": "binary"},
                        "request": {"type": "string", "contentMediaType": "application/json"},
                    },
                },
                "example": {"painting": "(the file)", "request": '{"name": "wheatfield", "preset": "quick"}'},
            },
        },
    }
}


async def read_train_request(request: Request) -> tuple[TrainRequest, Painting | None]:
    """Return the training that the client requests, and the painting if a form contains it.

    Raises RequestValidationError or RequestInvalidError for an invalid body, and TooLargeError for a body that is too
    large.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request)
    text = b"".join([piece async for piece in _limited(request, MAX_JSON_BYTES, _large_json())])
    body: TrainRequest = await threads.parse(_parse, text)
    if body.painting is None:
        raise RequestInvalidError(
            "Either give the address of the painting, or send its file in a form.", pointer=POINTER
        )
    return body, None


async def _read_form(request: Request) -> tuple[TrainRequest, Painting]:
    stream = _limited(request, MAX_PAINTING_BYTES + 2 * MAX_JSON_BYTES, too_large())
    with new_spool() as file:
        await fill(file, stream)
        found: tuple[TrainRequest, Painting] = await threads.parse(_parse_form, request.headers, file)
        return found


def _parse_form(headers: Headers, file: IO[bytes]) -> tuple[TrainRequest, Painting]:
    """Return the training that a form requests. Call this in a thread: the parser is pure Python and slow.

    It needs an event loop, so it runs in a new one.
    """
    return asyncio.run(_parse_parts(headers, file))


async def _parse_parts(headers: Headers, file: IO[bytes]) -> tuple[TrainRequest, Painting]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        while piece := file.read(_PIECE_BYTES):
            yield piece

    if _charset(headers["Content-Type"]) not in ("utf-8", "utf8", "us-ascii", "ascii"):
        # Some of Python's codecs, such as punycode, take quadratic time.
        raise RequestInvalidError("The form must be in UTF-8: omit the charset.", pointer="")
    parser = MultiPartParser(headers, pieces(), max_files=2, max_fields=2, max_part_size=MAX_JSON_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        reason = error.message.rstrip(".") if isinstance(error, MultiPartException) else "it has no boundary"
        message = f"The form cannot be read: {reason}."
        raise RequestInvalidError(message, pointer="") from error
    try:
        return await _request_of(form)
    finally:
        await form.close()


async def _request_of(form: FormData) -> tuple[TrainRequest, Painting]:
    if set(form) - {"painting", "request"} or len(form.multi_items()) > 2:
        raise RequestInvalidError("The form must have exactly one part `painting` and one part `request`.", pointer="")
    painting, text = form.get("painting"), form.get("request")
    if not isinstance(painting, UploadFile):
        raise RequestInvalidError("The form's part `painting` must be a file.", pointer=POINTER)
    if text is None:
        raise RequestInvalidError("The form has no part `request`.", pointer="/request")
    # Some clients send the JSON as a file.
    data = await text.read(MAX_JSON_BYTES + 1) if isinstance(text, UploadFile) else text.encode()
    if len(data) > MAX_JSON_BYTES:
        raise _large_json()
    body = _parse(data)
    if body.painting is not None:
        raise RequestInvalidError(
            "The request has both the address of a painting and its file; send only one of them.", pointer=POINTER
        )
    return body, Painting(name=_file_name(painting.filename), data=await painting.read(MAX_PAINTING_BYTES + 1))


def _charset(content_type: str) -> str:
    _, options = parse_options_header(content_type)
    return options.get(b"charset", b"utf-8").decode("latin-1").strip().lower()


async def _limited(request: Request, max_bytes: int, error: TooLargeError) -> AsyncGenerator[bytes, None]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_bytes:
            raise error
        yield piece


def _parse(text: bytes) -> TrainRequest:
    try:
        return TrainRequest.model_validate(parse(text))
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(found) from error


def _large_json() -> TooLargeError:
    return TooLargeError(f"The JSON of a request may have at most {MAX_JSON_BYTES:,} bytes.")


def _file_name(name: str | None) -> str:
    """Return a file name without characters that cannot be displayed or stored."""
    name = (name or "").replace("\\", "/").rpartition("/")[2]
    return name[-_MAX_FILE_NAME:] if name.isprintable() and storable(name) else ""
