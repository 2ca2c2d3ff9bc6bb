"""Exit codes and errors of the command line."""

from enum import IntEnum

from nst_core.errors import ImageError, NstError, WeightsError


class ExitCode(IntEnum):
    """What the exit code of `nst` means."""

    OK = 0  # done; the job or training has succeeded if the command waited for it
    FAILED = 1  # the job, the training or the stack has failed
    USAGE = 2  # an option or argument is not valid
    PARTIAL = 3  # some images of the job are missing
    CANCELLED = 4  # the job or training was cancelled, the job has expired, or the training is paused
    UNREACHABLE = 5  # the API, or what it needs, does not answer
    REFUSED = 6  # the API refused the request, or would
    LOCAL = 7  # a file or folder on this machine cannot be used
    INTERRUPTED = 130  # Ctrl-C


class ConversionError(NstError):
    """A checkpoint on this machine cannot be converted to weights of nst."""

    code = "conversion_failed"


class UsageError(NstError):
    """A command-line argument is not valid."""

    code = "usage"


class PlaceError(NstError):
    """Results cannot be written to the place given with -o."""

    code = "output_unusable"


class OutputIsInputError(UsageError):
    """A result would replace one of the photos of the job."""

    code = "output_is_input"


_BY_STATUS = {
    "succeeded": ExitCode.OK,
    "partially_succeeded": ExitCode.PARTIAL,
    "cancelled": ExitCode.CANCELLED,
    "expired": ExitCode.CANCELLED,
    "paused": ExitCode.CANCELLED,
}


def code_for_status(status: str) -> ExitCode:
    """Return the exit code for the status of a finished job, or of a finished or paused training."""
    return _BY_STATUS.get(status, ExitCode.FAILED)


def code_for_error(error: NstError) -> ExitCode:
    """Return the exit code for an error."""
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    if isinstance(error, WeightsError | ConversionError | ImageError | PlaceError):
        return ExitCode.LOCAL
    # Late, so that wrong arguments are reported at once.
    from nst_core.client import ApiError, UnreachableError
    from scheduler.local.home import HomeError

    if isinstance(error, HomeError):
        return ExitCode.LOCAL
    if isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.is_outage):
        return ExitCode.UNREACHABLE
    return ExitCode.REFUSED if isinstance(error, ApiError) else ExitCode.FAILED
