"""Errors of the Python client.

NstError
├── UnreachableError   unreachable (retryable)
└── ApiError           the code of the API's answer
"""

from nst_core.errors import NstError


class UnreachableError(NstError):
    """The API did not answer, or something other than the API did."""

    code = "unreachable"
    retryable = True


class ApiError(NstError):
    """The API refused a request; `code` is that of its answer."""

    code: str  # type: ignore[misc]  # the one error whose code comes from elsewhere

    def __init__(self, *, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
