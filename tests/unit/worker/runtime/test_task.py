"""Tests of worker.runtime.task with a minimal task."""

from dataclasses import dataclass
from threading import Event
from typing import Any

import pytest

from nst_core.errors import BlobUnavailableError, NstError, ProtocolError
from nst_core.protocol.events import ChunkFinished, ChunkStarted
from nst_core.system.logs import Ids, current
from tests.brokers import Broker
from tests.unit.worker.kit import events
from worker.runtime.outcomes import InterruptedWorkError, Recovered
from worker.runtime.report import Report
from worker.runtime.task import Task


@dataclass(frozen=True)
class Message:
    """A piece of work that succeeds or ends with an error."""

    id: int = 1
    attempt: int = 1
    error: Exception | None = None


class PlainReport(Report):
    """Reports the start only."""

    def tick(self) -> None:
        pass

    def _started(self) -> ChunkStarted:
        return ChunkStarted(chunk_id=int(self.id), attempt=self.attempt, worker="w")

    def _ask(self) -> None:
        pass


class PlainTask(Task[Message, PlainReport, ChunkFinished]):
    """Keeps a record of how its work ended."""

    noun = "work"

    def __init__(self, broker: Broker, recovered: Recovered = lambda problem: False) -> None:
        super().__init__(broker=broker, stop=Event(), recovered=recovered)
        self.ends: list[str] = []
        self.ids: list[Ids] = []

    def _parse(self, message: Any) -> Message:
        if not isinstance(message, Message):
            raise ProtocolError("That is no message.")
        return message

    def _report_on(self, work: Message) -> PlainReport:
        return PlainReport(
            self._broker,
            id=work.id,
            attempt=work.attempt,
            label=f"work {work.id}",
            ids=Ids(chunk_id=work.id, attempt=work.attempt),
            progress_s=60.0,
            heartbeat_s=60.0,
        )

    def _work(self, work: Message, report: PlainReport) -> ChunkFinished:
        self.ids.append(current())
        with report:
            if work.error is not None:
                raise work.error
            return self._end_with(work, "done")

    def _interrupted(self, work: Message, report: PlainReport, *, seconds: float) -> ChunkFinished:
        return self._end_with(work, "interrupted")

    def _failed(
        self, work: Message, report: PlainReport, problem: NstError, *, retryable: bool, seconds: float
    ) -> ChunkFinished:
        return self._end_with(work, f"{problem.code} {retryable}")

    def _log_end(self, work: Message, report: PlainReport, end: ChunkFinished, *, seconds: float) -> None:
        pass

    def _end_with(self, work: Message, how: str) -> ChunkFinished:
        self.ends.append(how)
        return ChunkFinished(chunk_id=work.id, attempt=work.attempt, outcomes=())


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, "done"),
        (InterruptedWorkError(), "interrupted"),
        (ValueError("a bug"), "internal False"),
        (RuntimeError("out of memory"), "engine_failed True"),
        (BlobUnavailableError("The storage is away."), "blob_unavailable True"),
    ],
)
def test_the_work_has_exactly_one_end_event(broker: Broker, error: Exception | None, end: str) -> None:
    task = PlainTask(broker)
    task(Message(error=error))
    assert task.ends == [end]
    assert events(broker) == [
        ChunkStarted(chunk_id=1, attempt=1, worker="w"),
        ChunkFinished(chunk_id=1, attempt=1, outcomes=()),
    ]


def test_an_attempt_is_begun_by_one_worker_only(broker: Broker) -> None:
    first, second = PlainTask(broker), PlainTask(broker)
    for task in (first, second):
        task(Message())
    assert (first.ends, second.ends) == (["done"], [])
    second(Message(attempt=2))
    first(Message(attempt=2))
    assert (first.ends, second.ends) == (["done"], ["done"])


def test_a_claim_whose_answer_was_lost_still_counts(broker: Broker) -> None:
    assert broker.claim("run_1", 3, "a")
    assert broker.claim("run_1", 3, "a")
    assert not broker.claim("run_1", 3, "b")
    assert broker.claim("run_1", 4, "b")


def test_failure_of_a_process_that_recovered_is_retried(broker: Broker) -> None:
    task = PlainTask(broker, recovered=lambda problem: True)
    task(Message(error=ValueError("half of a module")))
    assert task.ends == ["internal True"]


def test_work_of_a_retiring_worker_is_returned(broker: Broker) -> None:
    def retire(problem: NstError) -> bool:
        raise InterruptedWorkError

    task = PlainTask(broker, recovered=retire)
    task(Message(error=ValueError("a full disk")))
    assert task.ends == ["interrupted"]


def test_each_attempt_is_started_once_and_older_ones_never(broker: Broker) -> None:
    task = PlainTask(broker)
    for attempt in (2, 2, 1, 3):
        task(Message(attempt=attempt))
    task(Message(id=2))
    assert [event.attempt for event in events(broker) if isinstance(event, ChunkFinished)] == [2, 3, 1]
    # Of all lines that are logged meanwhile.
    assert task.ids == [Ids(chunk_id=1, attempt=2), Ids(chunk_id=1, attempt=3), Ids(chunk_id=2, attempt=1)]
    assert current() == {}


def test_unreadable_messages_are_dropped(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    PlainTask(broker)("text")
    assert "dropped a message: That is no message." in caplog.text
    assert events(broker) == []
