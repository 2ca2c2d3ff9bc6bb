"""Turns errors into HTTP responses with problem details (RFC 9457)."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

import nst_core.errors
import scheduler.domain.errors
import scheduler.store.errors
from nst_core.client.resources.problems import ErrorCode
from nst_core.client.resources.sentences import pointer, sentence
from nst_core.errors import (
    BlobError,
    EngineError,
    ImageError,
    NstError,
    TrainingDivergedError,
    WeightsError,
)
from scheduler.domain.codes import MEANINGS
from scheduler.domain.errors import (
    ConflictError,
    ForbiddenError,
    InFlightError,
    KeyReusedError,
    MalformedJsonError,
    MediaTypeError,
    NotFoundError,
    RequestInvalidError,
    StyleExistsError,
    TooLargeError,
    TooMuchError,
    UnauthenticatedError,
    WebhooksDisabledError,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: The HTTP status of each error class and its subclasses.
_STATUS: dict[type[NstError], int] = {
    MalformedJsonError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    StyleExistsError: 409,
    TooLargeError: 413,
    MediaTypeError: 415,
    RequestInvalidError: 422,
    KeyReusedError: 422,
    WeightsError: 422,
    TooMuchError: 429,
    WebhooksDisabledError: 503,
}
#: Errors that only workers raise.
_OF_WORKERS = (EngineError, ImageError, TrainingDivergedError)
#: Modules whose errors the API returns, or that items and runs can have.
_MODULES: Sequence[ModuleType] = (nst_core.errors, scheduler.domain.errors, scheduler.store.errors)
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    502: "Storage error",
    503: "Unavailable",
}
#: Errors without a class in nst, by status and code.
_FRAMEWORK = (
    (400, "bad_request", "The request's body or form cannot be read."),
    (404, "not_found", "There is no such route."),
    (
        405,
        "method_not_allowed",
        "The route does not support this method; the header Allow lists the methods that it supports.",
    ),
    (406, "not_acceptable", "The API has no response of a media type that the header Accept allows."),
    (413, "too_large", "The request's body is larger than the limit."),
    (500, "internal", "The server failed; its log says why."),
)
_BUG = "The server failed; its log says why."
#: Limits that keep error responses short, even for large requests.
MAX_ERRORS = 20
_MAX_DETAIL = 1000
_MAX_POINTER = 200
_RETRY_AFTER_S = 2
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_WHEN_AGAIN = {
    "Retry-After": {
        "description": "Whole seconds after which the request may succeed; omitted if it never will.",
        "schema": {"type": "integer"},
    }
}


def status_of(error: NstError) -> int:
    """Return the HTTP status of an error."""
    return _status_of_class(type(error))


def codes() -> list[ErrorCode]:
    """Return all codes of the API by status, followed by the codes that only items, jobs and runs have."""
    found = {code: ErrorCode(code=code, status=status, meaning=meaning) for status, code, meaning in _FRAMEWORK}
    found |= {code: ErrorCode(code=code, status=None, meaning=meaning) for code, meaning in MEANINGS.items()}
    for module in _MODULES:
        for cls in vars(module).values():
            # Base classes have no code of their own.
            if isinstance(cls, type) and issubclass(cls, NstError) and "code" in vars(cls) and cls is not NstError:
                meaning = (cls.__doc__ or "").partition("\n")[0]
                status = None if issubclass(cls, _OF_WORKERS) else _status_of_class(cls)
                found.setdefault(cls.code, ErrorCode(code=cls.code, status=status, meaning=meaning))
    return sorted(found.values(), key=lambda each: (each.status or 1000, each.code))


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for the statuses of errors."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    said = {status: {"description": _TITLES[status], "content": schema} for status in statuses}
    return {status: {**each, "headers": _WHEN_AGAIN} if status in (429, 503) else each for status, each in said.items()}


def answer(request: Request, error: NstError, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response for an error."""
    status, detail, errors = status_of(error), error.message, None
    if isinstance(error, RequestInvalidError):
        errors = [{"pointer": error.pointer, "detail": error.message}]
    if status >= 500 and status != 502:
        # The message may contain names of servers, users and files that clients must not see.
        log.warning("%s %s: %s", request.method, request.url.path, error.message)
        detail = (type(error).__doc__ or _BUG).partition("\n")[0]
    more = dict(headers or {})
    if isinstance(error, TooMuchError) and error.retry_after_s is not None:
        more["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return problem(request, status, error.code, detail, errors=errors, headers=more)


def answer_bug(request: Request, error: Exception) -> JSONResponse:
    """Log an unexpected error, and return the response."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(request, 500, "internal", _BUG)


def install(api: FastAPI) -> None:
    """Make an app return every error as a problem."""

    @api.exception_handler(NstError)
    async def on_nst_error(request: Request, error: NstError) -> JSONResponse:
        return answer(request, error)

    @api.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return _answer_invalid(request, error)

    @api.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        cause = error.__cause__
        if isinstance(cause, NstError):  # raised while the body was read
            return answer(request, cause)
        if isinstance(cause, RequestValidationError):
            return _answer_invalid(request, cause)
        code = next((code for status, code, _ in _FRAMEWORK if status == error.status_code), "http_error")
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods(request)):
            headers["Allow"] = ", ".join(methods)  # the framework lists only the methods of the path's first route
        return problem(request, error.status_code, code, str(error.detail), headers=headers)


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[dict[str, str]] | None = None,
    more_errors: int = 0,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an application/problem+json response of a few kilobytes at most."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": _sendable(detail, _MAX_DETAIL),
        "instance": quote(request.url.path[:_MAX_DETAIL], safe="/:@!$&'()*+,;=~-._%", errors="replace"),
        "code": code,
        "request_id": getattr(request.state, "request_id", ""),
    }
    if errors is not None:
        body["errors"] = [
            {"pointer": _sendable(each["pointer"], _MAX_POINTER), "detail": _sendable(each["detail"], _MAX_DETAIL)}
            for each in errors
        ]
        body["more_errors"] = more_errors
    more = dict(headers or {})
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    # If webhooks are disabled, a retry does not help.
    if (status == 503 and code != WebhooksDisabledError.code) or code == InFlightError.code:
        more.setdefault("Retry-After", str(_RETRY_AFTER_S))
    return JSONResponse(body, status, more, media_type=MEDIA_TYPE)


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes of the request's path."""
    paths = request.app.openapi()["paths"]
    found = (item for path, item in paths.items() if compile_path(path)[0].match(request.url.path))
    return sorted({name.upper() for item in found for name in item if name in _METHODS})


def _families(cls: type[NstError]) -> Iterator[int]:
    return (_STATUS[each] for each in cls.__mro__ if each in _STATUS)


def _status_of_class(cls: type[NstError]) -> int:
    status = next(_families(cls), None)
    if status is not None:
        return status
    if cls.retryable:
        return 503
    return 502 if issubclass(cls, BlobError) else 500


def _answer_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    found = error.errors()
    if any(tuple(each["loc"]) == ("body",) for each in found) and not _is_json(request):
        return problem(request, 415, "unsupported_media_type", "Send the body as application/json.")
    # Format only the errors that are shown, because there may be thousands.
    shown = [{"pointer": pointer(each["loc"][1:]), "detail": sentence(each)} for each in found[:MAX_ERRORS]]
    detail = f"{shown[0]['pointer'] or 'body'}: {shown[0]['detail']}"
    return problem(request, 422, "request_invalid", detail, errors=shown, more_errors=len(found) - len(shown))


def _is_json(request: Request) -> bool:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    missing = request.headers.get("Content-Length") == "0" or not (
        "Content-Length" in request.headers or "Transfer-Encoding" in request.headers
    )
    return missing or kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _sendable(text: str, most: int) -> str:
    """Shorten a text, and replace unpaired surrogates, which UTF-8 cannot encode."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text.encode("utf-8", "replace").decode()
