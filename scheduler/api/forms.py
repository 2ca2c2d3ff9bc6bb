"""The body that submits a training: JSON that names a painting in storage, or a form that brings it along."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from scheduler.api.run_schemas import TrainBody
from scheduler.domain import storable
from scheduler.errors import RequestInvalidError, TooLargeError
from scheduler.runs.paintings import MAX_PAINTING_BYTES, POINTER, Painting, too_large
from scheduler.runs.requests import RunRequest

#: Of the JSON alone.
MAX_JSON_BYTES = 2**20
_MAX_FILE_NAME = 255
#: What FastAPI cannot read off a signature.
OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/TrainBody"}},
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


async def read_train_request(request: Request) -> RunRequest:
    """Return the training that a request asks for.

    Raises RequestValidationError or RequestInvalidError for a body that is none, and TooLargeError for a large one.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request)
    body = _parse(b"".join([piece async for piece in _limited(request, MAX_JSON_BYTES, _large_json())]))
    if body.painting is None:
        raise RequestInvalidError("Name the painting, or send it along in a form.", pointer=POINTER)
    return body.to_request(body.painting)


async def _read_form(request: Request) -> RunRequest:
    stream = _limited(request, MAX_PAINTING_BYTES + 2 * MAX_JSON_BYTES, too_large())
    parser = MultiPartParser(request.headers, stream, max_files=2, max_fields=2, max_part_size=MAX_JSON_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        reason = error.message.rstrip(".") if isinstance(error, MultiPartException) else "it has no boundary"
        message = f"The form cannot be read: {reason}."
        raise RequestInvalidError(message, pointer="") from error
    try:
        if set(form) - {"painting", "request"} or len(form.multi_items()) > 2:
            raise RequestInvalidError("The form has one part painting and one part request.", pointer="")
        painting, text = form.get("painting"), form.get("request")
        if not isinstance(painting, UploadFile):
            raise RequestInvalidError("The form has no file in its part painting.", pointer=POINTER)
        if isinstance(text, UploadFile):  # a part with a file name is as good
            text = (await text.read(MAX_JSON_BYTES + 1)).decode(errors="replace")
        if text is None:
            raise RequestInvalidError("The form has no part request.", pointer="/request")
        if len(text) > MAX_JSON_BYTES:
            raise _large_json()
        body = _parse(text.encode())
        if body.painting is not None:
            raise RequestInvalidError("The painting is named, and sent along too; do one.", pointer=POINTER)
        data = await painting.read(MAX_PAINTING_BYTES + 1)
        return body.to_request(Painting(name=_file_name(painting.filename), data=data))
    finally:
        await form.close()


async def _limited(request: Request, max_bytes: int, error: TooLargeError) -> AsyncGenerator[bytes, None]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_bytes:
            raise error
        yield piece


def _parse(text: bytes) -> TrainBody:
    try:
        return TrainBody.model_validate_json(text)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_context=False)]
        raise RequestValidationError(found) from error


def _large_json() -> TooLargeError:
    return TooLargeError(f"A request has at most {MAX_JSON_BYTES:,} bytes of JSON.")


def _file_name(name: str | None) -> str:
    """Return a file name as it can be shown and stored."""
    name = (name or "").replace("\\", "/").rpartition("/")[2]
    return name[-_MAX_FILE_NAME:] if name.isprintable() and storable(name) else ""
