"""Errors of the store.

NstError
└── DatabaseUnavailableError   database_unavailable (retryable)
"""

from nst_core.errors import NstError


class DatabaseUnavailableError(NstError):
    """The database did not answer."""

    code = "database_unavailable"
    retryable = True
