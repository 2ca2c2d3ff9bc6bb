"""Errors of the store.

NstError
└── DatabaseUnavailableError   database_unavailable (retryable)
RowConflictError
UnstorableError
"""

from nst_core.errors import NstError


class DatabaseUnavailableError(NstError):
    """The database did not answer."""

    code = "database_unavailable"
    retryable = True


class RowConflictError(Exception):
    """Another transaction was first: a row with this key exists, or a row that this one refers to is gone.

    Callers handle it, so it has no code for clients.
    """


class UnstorableError(Exception):
    """A value does not fit its column."""
