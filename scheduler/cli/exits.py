"""Exit codes of the command line."""

from enum import IntEnum

from nst_core.client import ApiError, UnreachableError
from nst_core.errors import ImageError, NstError, WeightsError
from scheduler.domain.jobs import JobStatus
from scheduler.domain.runs import RunStatus


class ExitCode(IntEnum):
    """What the exit code of `nst` says."""

    OK = 0  # done; a job that was waited for has succeeded
    FAILED = 1  # the job has failed, or the stack
    USAGE = 2  # an option or argument cannot be used
    PARTIAL = 3  # some images of the job have failed
    CANCELLED = 4  # the job or the training was cancelled, the job has expired, or the training is paused
    UNREACHABLE = 5  # the API does not answer
    REFUSED = 6  # the API answered with an error
    LOCAL = 7  # a file or folder of this machine cannot be used
    INTERRUPTED = 130  # Ctrl-C


class ConversionError(NstError):
    """A checkpoint of this machine cannot be turned into weights of nst."""

    code = "conversion_failed"


class UsageError(NstError):
    """An argument of the command line cannot be used."""

    code = "usage"


class PlaceError(NstError):
    """Results cannot be written where -o says."""

    code = "output_unusable"


class OutputIsInputError(UsageError):
    """A result would replace the photo that it is made of, or another one of the job."""

    code = "output_is_input"


def code_for_job(status: JobStatus) -> ExitCode:
    """Return the exit code for a finished job."""
    return {
        JobStatus.SUCCEEDED: ExitCode.OK,
        JobStatus.PARTIALLY_SUCCEEDED: ExitCode.PARTIAL,
        JobStatus.CANCELLED: ExitCode.CANCELLED,
        JobStatus.EXPIRED: ExitCode.CANCELLED,
    }.get(status, ExitCode.FAILED)


def code_for_run(status: RunStatus) -> ExitCode:
    """Return the exit code for a run that is finished or paused."""
    return {
        RunStatus.SUCCEEDED: ExitCode.OK,
        RunStatus.CANCELLED: ExitCode.CANCELLED,
        RunStatus.PAUSED: ExitCode.CANCELLED,
    }.get(status, ExitCode.FAILED)


def code_for_error(error: NstError) -> ExitCode:
    """Return the exit code for an error."""
    match error:
        case UsageError():
            return ExitCode.USAGE
        case UnreachableError():
            return ExitCode.UNREACHABLE
        case ApiError():
            return ExitCode.REFUSED
        case WeightsError() | ConversionError() | ImageError() | PlaceError():
            return ExitCode.LOCAL
        case _:
            return ExitCode.FAILED
