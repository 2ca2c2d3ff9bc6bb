"""The base of the tasks of jobs: each method of stylization works on chunks of images."""

import logging
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from nst_core.clock import Clock
from nst_core.errors import NstError
from nst_core.protocol.chunks import ChunkMessage, load_chunk
from nst_core.protocol.events import ChunkFinished, ItemOutcome
from worker.methods.report import ChunkReport
from worker.runtime.outcomes import failure
from worker.runtime.task import Task
from worker.runtime.work import TaskParts

_log = logging.getLogger(__name__)
_Chunk = TypeVar("_Chunk", bound=ChunkMessage)


class ChunkTask(Task[_Chunk, ChunkReport, ChunkFinished], Generic[_Chunk]):
    """Works on the chunks of one method."""

    noun = "chunk"
    #: The type of the task's message.
    chunk: ClassVar[type[ChunkMessage]]
    #: Whether a chunk may take hours.
    is_long: ClassVar[bool] = False

    def __init__(self, parts: TaskParts, *, clock: Clock = time.monotonic) -> None:
        super().__init__(broker=parts.broker, stop=parts.stop, recovered=parts.recovered, clock=clock)
        self._settings = parts.settings
        self._name = parts.name
        self._watchdog = parts.watchdog
        self._isolation = parts.isolation

    @abstractmethod
    def _outcomes(self, chunk: _Chunk, report: ChunkReport) -> Iterator[ItemOutcome]:
        """Yield the outcomes of the chunk's items in the order of completion.

        Items that are not completed have none.
        """

    def _going(self, report: ChunkReport) -> bool:
        """Return whether another item, or another iteration, should begin."""
        return not (self._stop.is_set() or report.unwanted)

    def _parse(self, message: Any) -> _Chunk:
        chunk: _Chunk = load_chunk(self.chunk, message)  # type: ignore[assignment]
        return chunk

    def _report_on(self, work: _Chunk) -> ChunkReport:
        return ChunkReport(
            work,
            self._broker,
            worker=self._name,
            progress_s=self._settings.progress_s,
            heartbeat_s=self._settings.heartbeat_s,
            leaving=self._stop.is_set,
            waits=self._isolation.must_wait(alone=work.alone, is_long=self.is_long),
        )

    def _work(self, work: _Chunk, report: ChunkReport) -> ChunkFinished:
        def still_wanted() -> bool:
            report.touch()
            return self._going(report)

        # The watchdog comes first, because entering the report starts a thread, which may hang.
        with (
            self._watchdog.watching(report, lane=work.queue, label=report.label),
            report,
            self._isolation.enter(alone=work.alone, still=still_wanted, is_long=self.is_long) as entered,
        ):
            if entered and self._going(report):
                report.begin()
                for outcome in self._outcomes(work, report):
                    report.add(outcome)
            elif self._going(report):
                _log.info("%s: given back, since it must be alone and this worker has long work", report.label)
        return report.end()

    def _interrupted(self, work: _Chunk, report: ChunkReport, *, seconds: float) -> ChunkFinished:
        return report.end()

    def _failed(
        self, work: _Chunk, report: ChunkReport, problem: NstError, *, retryable: bool, seconds: float
    ) -> ChunkFinished:
        """Fail the items without an outcome, to be retried: as after the loss of a worker, none is known to be bad."""
        done = {outcome.index for outcome in report.outcomes}
        for item in work.items:
            if item.index not in done:
                report.add(replace(failure(item, problem), retryable=True))
        return report.end()

    def _log_end(self, work: _Chunk, report: ChunkReport, end: ChunkFinished, *, seconds: float) -> None:
        _log.info(
            "%s: %d images, %d failed, %d not completed, %.1f s, %.2f images/s",
            report.label,
            len(end.outcomes),
            sum(not outcome.succeeded for outcome in end.outcomes),
            len(work.items) - len(end.outcomes),
            seconds,
            len(end.outcomes) / seconds if seconds else 0.0,
        )
