"""The base of the worker's Celery tasks: each message becomes one piece of work, from its first event to its last."""

import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from threading import Event as Flag
from threading import Lock
from typing import Any, Generic, TypeVar

from nst_core.clock import Clock
from nst_core.errors import BlobUnavailableError, BrokerUnavailableError, NstError, ProtocolError
from nst_core.protocol.events import Event
from nst_core.system.logs import about
from nst_core.system.traces import span
from worker.runtime.broker import WorkerBroker
from worker.runtime.outcomes import InterruptedWorkError, Recovered, problem_of
from worker.runtime.report import Report

_log = logging.getLogger(__name__)
_Message = TypeVar("_Message")
_Report = TypeVar("_Report", bound=Report)
_End = TypeVar("_End", bound=Event)
#: The number of chunks or runs whose newest attempt is remembered.
_REMEMBERED = 1000


class Task(ABC, Generic[_Message, _Report, _End]):
    """Works on messages of one kind. Call it with the values of a message, from as many threads as you like.

    Whatever goes wrong, a message that was begun ends with exactly one end event, unless the process dies.
    """

    #: What logs, traces and users call a piece of work.
    noun: str

    def __init__(
        self,
        *,
        broker: WorkerBroker,
        stop: Flag,
        recovered: Recovered = lambda problem: False,
        clock: Clock = time.monotonic,
    ) -> None:
        """Work until `stop` is set. `recovered` tells failures of the work from those of the process."""
        self._broker = broker
        self._stop = stop
        self._recovered = recovered
        self._clock = clock
        self._claimant = secrets.token_hex(16)
        self._lock = Lock()
        #: The newest attempt at each chunk or run that was begun here.
        self._begun: OrderedDict[int | str, int] = OrderedDict()

    def __call__(self, message: Any) -> None:
        """Take one message to its last event; return when it may be acknowledged."""
        try:
            work = self._parse(message)
        except ProtocolError as error:
            # Acknowledged all the same: it would be just as wrong the next time.
            _log.error("dropped a message: %s", error)
            return
        report = self._report_on(work)
        with about(**report.ids), span(self.noun, kind="consumer", parent=report.traceparent):
            self._take(work, report)

    def _take(self, work: _Message, report: _Report) -> None:
        if _is_outdated(report):
            _log.info("%s: dropped, a newer attempt exists", report.label)
        elif not self._claim(report) or not self._claim_everywhere(report):
            # Redis delivers a message again if a worker's connection broke, or if the message was not acknowledged for
            # an hour. If the worker that began it is gone, its lease ends, and the next attempt has a new number.
            _log.info("%s: dropped, it was begun before", report.label)
        else:
            self._complete(work, report)

    @abstractmethod
    def _parse(self, message: Any) -> _Message:
        """Return the work that a message describes; raise ProtocolError if it describes none."""

    @abstractmethod
    def _report_on(self, work: _Message) -> _Report:
        """Return a new report on a piece of work."""

    @abstractmethod
    def _work(self, work: _Message, report: _Report) -> _End:
        """Do the work inside the report's `with` block and return its last event.

        Raises InterruptedWorkError if the work is given back, and any other exception if it failed.
        """

    @abstractmethod
    def _interrupted(self, work: _Message, report: _Report, *, seconds: float) -> _End:
        """Return the last event of work that is given back unfinished, which counts as no failure."""

    @abstractmethod
    def _failed(self, work: _Message, report: _Report, problem: NstError, *, retryable: bool, seconds: float) -> _End:
        """Return the last event of work that failed as a whole; the process `recovered` if it was to blame."""

    @abstractmethod
    def _log_end(self, work: _Message, report: _Report, end: _End, *, seconds: float) -> None:
        """Write one line about the work to the log."""

    def _claim(self, report: Report) -> bool:
        """Return whether the attempt is newer than all attempts at the same work that were begun here."""
        with self._lock:
            if self._begun.get(report.id, 0) >= report.attempt:
                return False
            self._begun[report.id] = report.attempt
            self._begun.move_to_end(report.id)
            if len(self._begun) > _REMEMBERED:
                self._begun.popitem(last=False)
            return True

    def _claim_everywhere(self, report: Report) -> bool:
        """Return whether no other worker has begun this attempt, as far as Redis knows."""
        try:
            return self._broker.claim(report.id, report.attempt, self._claimant)
        except BrokerUnavailableError as error:
            # Both would make the same images. That is better than work that nobody does until its lease ends.
            _log.warning("%s: %s", report.label, error)
            return True

    def _complete(self, work: _Message, report: _Report) -> None:
        started = self._clock()
        try:
            end = self._work(work, report)
        except InterruptedWorkError:
            end = self._interrupted(work, report, seconds=self._clock() - started)
        except Exception as error:  # noqa: BLE001 - the scheduler must learn of any failure, and the worker continues
            end = self._end_of(work, report, error, started)
        seconds = self._clock() - started
        published = report.publish_end(end, self._stop)
        self._log_end(work, report, end, seconds=seconds)
        if not published:
            _log.error("%s: its end could not be published before the shutdown", report.label)

    def _end_of(self, work: _Message, report: _Report, error: Exception, started: float) -> _End:
        """Return the last event of work that ended with an error, given back if this worker is to blame."""
        problem = problem_of(error, label=report.label, what=self.noun)
        try:
            recovered = self._recovered(problem)
        except InterruptedWorkError:
            return self._interrupted(work, report, seconds=self._clock() - started)
        except BlobUnavailableError as unavailable:
            problem, recovered = unavailable, True
        retryable = problem.retryable or recovered
        return self._failed(work, report, problem, retryable=retryable, seconds=self._clock() - started)


def _is_outdated(report: Report) -> bool:
    try:
        return report.is_outdated()
    except BrokerUnavailableError as error:
        # The attempt number fences off everything that an outdated attempt says, so the worst case is wasted work.
        _log.warning("%s: %s", report.label, error)
        return False
