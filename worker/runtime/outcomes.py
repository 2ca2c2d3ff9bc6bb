"""From work and its errors to outcomes: retries, error codes and times."""

import errno
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from nst_core.clock import Clock
from nst_core.errors import DiskError, EngineError, NstError
from nst_core.images import Picture
from nst_core.inference.stylizer import EngineChoice
from nst_core.protocol.chunks import ChunkItem
from nst_core.protocol.events import ItemOutcome
from nst_core.system.logs import about
from nst_core.system.traces import span
from worker.runtime.signs import signs

_log = logging.getLogger(__name__)


#: Returns whether the process was to blame for an error and has recovered; see `health.Recovery`.
Recovered = Callable[[NstError], bool]
#: Errors of the machine, whatever the work was: a full, broken or read-only disk, or too many open files.
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})
_T = TypeVar("_T")


class Stopwatch:
    """Adds up the time spent inside `with` blocks."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._started = 0.0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        return self._seconds

    @property
    def ms(self) -> int:
        """The whole milliseconds so far."""
        return round(self._seconds * 1000)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Measure no time in a `with` block inside of one that is measured."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def less(self, other: "Stopwatch") -> None:
        """Subtract the time that another stopwatch measured."""
        self._seconds -= other._seconds

    def __enter__(self) -> None:
        self._started = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds += self._clock() - self._started


class InterruptedWorkError(Exception):
    """The work was stopped before it was completed, and is given back."""


def success(
    item: ChunkItem, picture: Picture, data: bytes, *, ms: int, choice: EngineChoice | None = None
) -> ItemOutcome:
    """Return the outcome of an item whose result is in storage; `data` is the picture's file.

    `choice` is the engine that made the picture, if the method has engines.
    """
    height, width = picture.rgb.shape[:2]
    digest = hashlib.sha256(data).hexdigest()
    return ItemOutcome(
        index=item.index,
        ms=ms,
        sha256=digest,
        bytes=len(data),
        width=width,
        height=height,
        engine=None if choice is None else choice.engine,
        precision=None if choice is None else choice.precision,
        warning=picture.warning,
    )


def failure(item: ChunkItem, error: NstError, *, ms: int = 0) -> ItemOutcome:
    """Return the outcome of an item that failed with an error."""
    return ItemOutcome(
        index=item.index, ms=ms, error_code=error.code, error_message=error.message, retryable=error.retryable
    )


def outcome_of(
    work: Callable[[], ItemOutcome],
    *,
    job_id: str,
    item: ChunkItem,
    watch: Stopwatch,
    recovered: Recovered,
    waits: Callable[[], object],
) -> ItemOutcome | None:
    """Return the outcome of the work on an item, also if it fails; None if it was interrupted.

    No error of one item disturbs another. `waits` is called while the process recovers; see `retried`.
    """
    label = f"job {job_id} item {item.index}"
    with about(item=item.index), span("item") as traced:
        try:
            outcome = retried(work, label=label, what="image", recovered=recovered, waits=waits)
        except InterruptedWorkError:
            return None
        except NstError as problem:
            traced.fail(problem.code)
            _log.debug("%s failed: %s (%s)", label, problem.message, problem.code)
            return failure(item, problem, ms=watch.ms)
        _log.debug("%s: done in %d ms", label, outcome.ms)
        return outcome


def retried(
    work: Callable[[], _T], *, label: str, what: str, recovered: Recovered, waits: Callable[[], object] = lambda: None
) -> _T:
    """Return the result of some work, after up to two retries if the process was to blame for a failure.

    `waits` is called about every second while `recovered` waits: for a test behind a large photo, or for the storage.
    Raises InterruptedWorkError as the work does, and an NstError for every other error; see `problem_of`.
    """
    for last in (False, False, True):
        try:
            return work()
        except InterruptedWorkError:
            raise
        except Exception as error:  # noqa: BLE001 - no error may affect other work
            problem = problem_of(error, label=label, what=what)
        with signs(waits):
            if last or not recovered(problem):
                break
    raise problem


def problem_of(error: Exception, *, label: str, what: str) -> NstError:
    """Return an error as one with a code, and log the details that are of no use to the job's owner.

    `label` names the work in the log, `what` in the message.
    """
    if isinstance(error, NstError):
        return error
    if isinstance(error, MemoryError | RuntimeError):  # torch's errors are RuntimeErrors, also if memory is short
        _log.warning("%s: %s", label, error)
        return EngineError(f"The network failed on the {what}: {_brief(error)}")
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        _log.warning("%s: %s", label, error)
        return DiskError(f"A disk of the worker's machine failed: {error.strerror}.")
    _log.error("%s failed", label, exc_info=error)  # a bug
    return NstError(f"The worker failed on the {what}.")


def _brief(error: BaseException) -> str:
    """Return the first line of an error's text, without the advice that torch appends."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
