"""Errors of the store.

NstError
└── DatabaseUnavailableError   database_unavailable (retryable)
DatabaseFaultError
RowConflictError
UnstorableError
"""

from nst_core.errors import NstError


class DatabaseUnavailableError(NstError):
    """The database did not answer, or it cannot be written to."""

    code = "database_unavailable"
    retryable = True


class DatabaseFaultError(Exception):
    """The database refused a statement whose values are right: a bug of ours, a damaged file, or a wrong schema.

    Nobody handles it, so it has no code for clients. What was to be stored must not be lost because of it.
    """


class RowConflictError(Exception):
    """Another transaction was first: a row with this key exists, or a row that this one refers to is gone.

    Callers handle it, so it has no code for clients.
    """


class UnstorableError(Exception):
    """A value does not fit its column."""
