"""The one place where errors become HTTP answers, as problem details (RFC 9457)."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from nst_core.errors import BlobError, NstError, WeightsError
from scheduler.errors import (
    ConflictError,
    KeyReusedError,
    NotFoundError,
    RequestInvalidError,
    StyleExistsError,
    TooLargeError,
    TooManyStreamsError,
    UnauthenticatedError,
    WebhooksDisabledError,
)

log = logging.getLogger(__name__)

_STATUS: dict[type[NstError], int] = {
    UnauthenticatedError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    StyleExistsError: 409,
    TooLargeError: 413,
    RequestInvalidError: 422,
    KeyReusedError: 422,
    WeightsError: 422,
    TooManyStreamsError: 429,
    WebhooksDisabledError: 503,
}
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    502: "Storage error",
    503: "Unavailable",
}


def status_of(error: NstError) -> int:
    """Return the HTTP status of an error."""
    if type(error) in _STATUS:
        return _STATUS[type(error)]
    if error.retryable:
        return 503
    return 502 if isinstance(error, BlobError) else 500


def install(api: FastAPI) -> None:
    """Let an app answer every error as a problem."""

    @api.exception_handler(NstError)
    async def on_nst_error(request: Request, error: NstError) -> JSONResponse:
        errors = None
        if isinstance(error, RequestInvalidError):
            errors = [{"pointer": error.pointer, "detail": error.message}]
        return problem(status_of(error), error.code, error.message, errors=errors)

    @api.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"pointer": "/" + "/".join(str(part) for part in each["loc"][1:]), "detail": each["msg"]}
            for each in error.errors()
        ]
        first = errors[0]
        detail = f"{first['pointer']}: {first['detail']}"
        return problem(422, "request_invalid", detail, errors=errors)

    @api.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    @api.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "internal", "The server failed; its log says why.")


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Any = None,
) -> JSONResponse:
    """Return an application/problem+json answer."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors is not None:
        body["errors"] = errors
    headers = dict(headers or {})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    # Without webhooks, asking again does not help.
    if status == 503 and code != WebhooksDisabledError.code:
        headers["Retry-After"] = "2"
    return JSONResponse(body, status, headers, media_type="application/problem+json")
