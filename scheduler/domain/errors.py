"""Errors of the scheduler's service; `api/problems.py` gives each its HTTP status.

NstError
└── ServiceError
    ├── RequestInvalidError    request_invalid (with the place in the request)
    ├── MalformedJsonError     malformed_json
    ├── UnauthenticatedError   unauthenticated
    │   ├── KeyExpiredError        key_expired
    │   └── KeyRevokedError        key_revoked
    ├── ForbiddenError         forbidden
    ├── NotFoundError          not_found
    ├── ConflictError          conflict
    │   ├── NothingToRetryError    nothing_to_retry
    │   ├── OutputReplacedError    output_replaced
    │   ├── JobExistsError         job_exists
    │   ├── UnfinishedError        unfinished
    │   ├── InUseError             in_use
    │   └── InFlightError          idempotency_in_flight
    ├── KeyReusedError         idempotency_key_reused
    ├── StyleExistsError       style_exists
    ├── TooLargeError          too_large
    ├── MediaTypeError         unsupported_media_type
    ├── TooMuchError           (after how long it may be otherwise)
    │   ├── QuotaExceededError     quota_exceeded
    │   │   ├── JobTooLargeError       quota_exceeded
    │   │   └── QueueFullError         quota_exceeded (retryable)
    │   ├── TooManyStreamsError    too_many_streams
    │   └── RateLimitedError       rate_limited (retryable)
    ├── SpoolUnavailableError  spool_unavailable (retryable)
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


class MalformedJsonError(ServiceError):
    """The request's body is not JSON, or is JSON of a kind that the API does not read."""

    code = "malformed_json"


class UnauthenticatedError(ServiceError):
    """The request has no valid API key."""

    code = "unauthenticated"


class KeyExpiredError(UnauthenticatedError):
    """The API key was good until some time ago, or has another secret now."""

    code = "key_expired"


class KeyRevokedError(UnauthenticatedError):
    """The API key was revoked."""

    code = "key_revoked"


class ForbiddenError(ServiceError):
    """The API key has not the scope that this needs."""

    code = "forbidden"


class NotFoundError(ServiceError):
    """There is no such thing, or it belongs to another tenant."""

    code = "not_found"


class ConflictError(ServiceError):
    """The thing is not in the state that the request needs."""

    code = "conflict"


class OutputReplacedError(ConflictError):
    """The storage has something else by now where the job wrote an image."""

    code = "output_replaced"


class NothingToRetryError(ConflictError):
    """The job has no failed item that may be tried again."""

    code = "nothing_to_retry"


class JobExistsError(ConflictError):
    """The id that the client gives names a job that was made from another request."""

    code = "job_exists"


class UnfinishedError(ConflictError):
    """The job or the training has not ended and cannot be deleted; cancel it first."""

    code = "unfinished"


class InUseError(ConflictError):
    """A job or a training that has not ended needs the upload."""

    code = "in_use"


class InFlightError(ConflictError):
    """A request with the same Idempotency-Key is at work; the same request is answered when it is done."""

    code = "idempotency_in_flight"


class KeyReusedError(ServiceError):
    """The Idempotency-Key was used before with another request."""

    code = "idempotency_key_reused"


class StyleExistsError(ServiceError):
    """The style's name has another version, which is not to be replaced, or comes with nst."""

    code = "style_exists"


class TooLargeError(ServiceError):
    """The request's body is larger than the limit."""

    code = "too_large"


class MediaTypeError(ServiceError):
    """The request's body has a Content-Type other than the route reads."""

    code = "unsupported_media_type"


class TooMuchError(ServiceError):
    """Family of errors for a tenant that has or does too much at the moment, or altogether."""

    #: After so long it may be otherwise; None: it never is.
    retry_after_s: float | None = None

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """Say after how long it may be otherwise, where that is not as the class says."""
        super().__init__(message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class QuotaExceededError(TooMuchError):
    """The tenant would have more of something than its limit."""

    code = "quota_exceeded"
    #: As workers finish images.
    retry_after_s: float | None = 30.0


class JobTooLargeError(QuotaExceededError):
    """The job has more images than the tenant's jobs may have."""

    retry_after_s = None


class QueueFullError(QuotaExceededError):
    """So many images of the tenant are waiting that no more are planned until some are done."""

    retryable = True


class TooManyStreamsError(TooMuchError):
    """The tenant has as many open streams as it may have."""

    code = "too_many_streams"
    retry_after_s = 10.0


class RateLimitedError(TooMuchError):
    """There were too many requests in a short time; Retry-After says when to go on."""

    code = "rate_limited"
    retryable = True
    retry_after_s = 1.0


class SpoolUnavailableError(ServiceError):
    """The scheduler has no room on its disk to keep the request's body for the moment."""

    code = "spool_unavailable"
    retryable = True


class WebhooksDisabledError(ServiceError):
    """The installation has no key to encrypt the secrets of webhooks with."""

    code = "webhooks_disabled"
