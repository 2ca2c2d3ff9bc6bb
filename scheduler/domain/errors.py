"""Errors of the scheduler's service; `api/problems.py` maps each to an HTTP status.

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
    │   ├── InFlightError          idempotency_in_flight
    │   └── ResourceDeletedError   idempotency_resource_deleted
    ├── KeyReusedError         idempotency_key_reused
    ├── StyleExistsError       style_exists
    ├── TooLargeError          too_large
    ├── MediaTypeError         unsupported_media_type
    ├── TooMuchError           (with the seconds to wait before a retry)
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
    """The request's body is not valid JSON, or exceeds the limits for JSON."""

    code = "malformed_json"


class UnauthenticatedError(ServiceError):
    """The request has no valid API key."""

    code = "unauthenticated"


class KeyExpiredError(UnauthenticatedError):
    """The API key has expired or was rotated."""

    code = "key_expired"


class KeyRevokedError(UnauthenticatedError):
    """The API key was revoked."""

    code = "key_revoked"


class ForbiddenError(ServiceError):
    """The API key does not have the required scope."""

    code = "forbidden"


class NotFoundError(ServiceError):
    """The resource does not exist, or belongs to another tenant."""

    code = "not_found"


class ConflictError(ServiceError):
    """The resource is not in a state that allows the request."""

    code = "conflict"


class OutputReplacedError(ConflictError):
    """The image was replaced in the storage after the job wrote it."""

    code = "output_replaced"


class NothingToRetryError(ConflictError):
    """The job has no failed item to retry."""

    code = "nothing_to_retry"


class JobExistsError(ConflictError):
    """The id belongs to a job that was made from a different request."""

    code = "job_exists"


class UnfinishedError(ConflictError):
    """The job or training has not ended; cancel it before you delete it."""

    code = "unfinished"


class InUseError(ConflictError):
    """A job or training that has not ended uses the upload."""

    code = "in_use"


class InFlightError(ConflictError):
    """A request with the same Idempotency-Key is in progress; repeat the request when it is done."""

    code = "idempotency_in_flight"


class ResourceDeletedError(ConflictError):
    """What the first request with this Idempotency-Key made was deleted; use another key to make it again."""

    code = "idempotency_resource_deleted"


class KeyReusedError(ServiceError):
    """The Idempotency-Key was used before with a different request."""

    code = "idempotency_key_reused"


class StyleExistsError(ServiceError):
    """A style with this name has a different version, or comes with nst and cannot be replaced."""

    code = "style_exists"


class TooLargeError(ServiceError):
    """The request's body is larger than the limit."""

    code = "too_large"


class MediaTypeError(ServiceError):
    """The route does not accept the Content-Type of the request."""

    code = "unsupported_media_type"


class TooMuchError(ServiceError):
    """Base of all quota and rate errors."""

    #: Seconds after which the request may succeed; None if it never will.
    retry_after_s: float | None = None

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """`retry_after_s` replaces the value of the class."""
        super().__init__(message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class QuotaExceededError(TooMuchError):
    """The request exceeds a limit of the tenant."""

    code = "quota_exceeded"
    #: Workers may have finished some images by then.
    retry_after_s: float | None = 30.0


class JobTooLargeError(QuotaExceededError):
    """The job has more images than the tenant's limit for one job."""

    retry_after_s = None


class QueueFullError(QuotaExceededError):
    """Too many images of the tenant are waiting; more are planned as they finish."""

    retryable = True


class TooManyStreamsError(TooMuchError):
    """The tenant has reached its limit of open streams."""

    code = "too_many_streams"
    retry_after_s = 10.0


class RateLimitedError(TooMuchError):
    """There were too many requests; Retry-After says when to continue."""

    code = "rate_limited"
    retryable = True
    retry_after_s = 1.0


class SpoolUnavailableError(ServiceError):
    """The scheduler has no disk space for the request's body at the moment."""

    code = "spool_unavailable"
    retryable = True


class WebhooksDisabledError(ServiceError):
    """Webhooks are not enabled: the installation has no key to encrypt their secrets."""

    code = "webhooks_disabled"
