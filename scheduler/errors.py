"""Errors of the scheduler's service; `api/problems.py` gives each its HTTP status.

NstError
└── ServiceError
    ├── RequestInvalidError    request_invalid (with the place in the request)
    ├── UnauthenticatedError   unauthenticated
    ├── NotFoundError          not_found
    ├── ConflictError          conflict
    ├── KeyReusedError         idempotency_key_reused
    ├── StyleExistsError       style_exists
    ├── TooLargeError          too_large
    ├── TooManyStreamsError    too_many_streams
    └── WebhooksDisabledError  webhooks_disabled
"""

from nst_core.errors import NstError


class ServiceError(NstError):
    """The service refuses a request."""


class RequestInvalidError(ServiceError):
    """A field of the request has a value that cannot be used."""

    code = "request_invalid"

    def __init__(self, message: str, *, pointer: str) -> None:
        """`pointer` is the JSON pointer of the field, such as /output/name."""
        super().__init__(message)
        self.pointer = pointer


class UnauthenticatedError(ServiceError):
    """The request has no valid API key."""

    code = "unauthenticated"


class NotFoundError(ServiceError):
    """There is no such thing, or it belongs to another tenant."""

    code = "not_found"


class ConflictError(ServiceError):
    """The thing is not in the state that the request needs."""

    code = "conflict"


class KeyReusedError(ServiceError):
    """The Idempotency-Key was used before with another request."""

    code = "idempotency_key_reused"


class StyleExistsError(ServiceError):
    """The style's name has another version, which is not to be replaced, or is another tenant's."""

    code = "style_exists"


class TooLargeError(ServiceError):
    """The request's body is larger than the limit."""

    code = "too_large"


class TooManyStreamsError(ServiceError):
    """The tenant has as many streams of events open as it may."""

    code = "too_many_streams"


class WebhooksDisabledError(ServiceError):
    """The installation has no key to encrypt the secrets of webhooks with."""

    code = "webhooks_disabled"
