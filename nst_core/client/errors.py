"""Errors of the Python client.

NstError
├── UnreachableError   unreachable (retryable)
└── ApiError           the code of the API's answer (retryable if a repeat may succeed)
"""

from nst_core.errors import NstError

#: Statuses of answers that say that the API, or what it needs, does not work at present.
_OUTAGE = frozenset({502, 503, 504})
#: Other answers that a repeat of the same request may turn into success. A first try may still be in progress although
#: its connection was lost, and a rate limit says when to come again.
_PASSING = frozenset({(409, "idempotency_in_flight"), (429, "rate_limited")})


class UnreachableError(NstError):
    """The API did not answer, or something other than the API did."""

    code = "unreachable"
    retryable = True


class ApiError(NstError):
    """The API refused a request; `code` is that of its answer."""

    # The one error where these come from elsewhere.
    code: str  # type: ignore[misc]
    retryable: bool  # type: ignore[misc]

    def __init__(self, *, status: int, code: str, detail: str, retry_after_s: float = 0.0) -> None:
        """`retry_after_s` is the pause that the API asks for before a repeat."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.retryable = self.is_outage or (status, code) in _PASSING

    @property
    def is_outage(self) -> bool:
        """Whether the API, or something that it needs, does not work at present."""
        # What the API has no part for, it will not have later.
        return self.status in _OUTAGE and self.code != "webhooks_disabled"
