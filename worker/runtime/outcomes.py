"""What became of one item: how long it took, and the outcome that its work or its error comes to."""

import errno
import hashlib
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from nst_core.clock import Clock
from nst_core.errors import DiskError, EngineError, NstError
from nst_core.images import Picture
from nst_core.protocol.chunks import ChunkItem
from nst_core.protocol.events import ItemOutcome

_log = logging.getLogger(__name__)


#: Tells whether the process was ill when something failed with an error, and is well again; see `health.Recovery`.
Recovered = Callable[[NstError], bool]
#: Of the machine, whatever the work was: a full, broken or read-only disk, and files that cannot be opened any more.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})
_T = TypeVar("_T")


class Stopwatch:
    """Adds up the time spent inside `with` blocks."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._started = 0.0
        self._seconds = 0.0

    @property
    def ms(self) -> int:
        """The whole milliseconds so far."""
        return round(self._seconds * 1000)

    def less(self, other: "Stopwatch") -> None:
        """Take away the time that another one has measured inside."""
        self._seconds -= other._seconds

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds += self._clock() - self._started


class InterruptedWorkError(Exception):
    """The chunk was stopped before the item was completed."""


def success(item: ChunkItem, picture: Picture, data: bytes, *, ms: int) -> ItemOutcome:
    """Return the outcome of an item whose result is in storage; `data` is the file of the picture."""
    height, width = picture.rgb.shape[:2]
    digest = hashlib.sha256(data).hexdigest()
    return ItemOutcome(
        index=item.index,
        ms=ms,
        sha256=digest,
        bytes=len(data),
        width=width,
        height=height,
        warning=picture.warning,
    )


def failure(item: ChunkItem, error: NstError, *, ms: int = 0) -> ItemOutcome:
    """Return the outcome of an item that failed with an error."""
    return ItemOutcome(
        index=item.index, ms=ms, error_code=error.code, error_message=error.message, retryable=error.retryable
    )


def outcome_of(
    work: Callable[[], ItemOutcome], *, job_id: str, item: ChunkItem, watch: Stopwatch, recovered: Recovered
) -> ItemOutcome | None:
    """Return what the work on an item returns, or the failure that its error comes to; None where it was interrupted.

    Whatever the work raises, it never disturbs another item.
    """
    try:
        return retried(work, label=f"job {job_id} item {item.index}", what="image", recovered=recovered)
    except InterruptedWorkError:
        return None
    except NstError as problem:
        return failure(item, problem, ms=watch.ms)


def retried(work: Callable[[], _T], *, label: str, what: str, recovered: Recovered) -> _T:
    """Return what some work returns, trying again where not the work was to blame but the process.

    Raises InterruptedWorkError as the work does, and an NstError for whatever else it raises; see `problem_of`.
    """
    for last in (False, False, True):
        try:
            return work()
        except InterruptedWorkError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not take others along
            problem = problem_of(error, label=label, what=what)
        if last or not recovered(problem):
            break
    raise problem


def problem_of(error: Exception, *, label: str, what: str) -> NstError:
    """Return an error that ended some work as one with a code, and log what only we can make sense of.

    `label` names the work in the log, `what` for its owner.
    """
    if isinstance(error, NstError):
        return error
    if isinstance(error, MemoryError | RuntimeError):  # torch's own errors are RuntimeErrors, also for want of memory
        _log.warning("%s: %s", label, error)
        return EngineError(f"The network failed on the {what}: {_brief(error)}")
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        _log.warning("%s: %s", label, error)
        return DiskError(f"A disk of the worker's machine failed: {error.strerror}.")
    _log.error("%s failed", label, exc_info=error)  # a fault of ours
    return NstError(f"The worker failed on the {what}.")


def _brief(error: BaseException) -> str:
    """Return the first line of an error's text; torch adds pages of advice to it."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
