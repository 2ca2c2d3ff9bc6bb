"""Tests of worker.segments.report."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

import pytest
import torch

from nst_core.protocol.events import SegmentFinished, SegmentProgress, SegmentStarted
from nst_core.protocol.segments import TrainSegment, dump_segment
from nst_core.storage.blobs import BlobStore
from tests.brokers import Broker
from tests.unit.worker.kit import WAIT_S, events, wait_until
from tests.unit.worker.training_kit import (
    checkpoint_of,
    make_segment,
)
from worker.runtime.engine import Engine
from worker.segments.task import LANE, TrainTask
from worker.settings import WorkerSettings


@dataclass
class Trainee:
    """The task and its parts."""

    settings: WorkerSettings
    broker: Broker
    blobs: BlobStore
    engine: Engine
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.task = self.task_of(self.blobs)

    def task_of(self, blobs: BlobStore) -> TrainTask:
        """Return a task with its own storage."""
        return TrainTask(
            self.settings,
            name="w@test",
            broker=self.broker,
            blobs=blobs,
            engine=self.engine,
            device=torch.device("cpu"),
            stop=self.stop,
        )

    def work(self, segment: TrainSegment) -> SegmentFinished:
        """Work on a segment and return its end."""
        self.task(dump_segment(segment))
        return self.end

    @property
    def end(self) -> SegmentFinished:
        """The last event, which must be the end of a segment."""
        event = events(self.broker)[-1]
        assert isinstance(event, SegmentFinished)
        return event

    @property
    def progress(self) -> list[SegmentProgress]:
        """The events between starts and ends."""
        return [event for event in events(self.broker) if isinstance(event, SegmentProgress)]


@pytest.fixture
def trainee(settings: WorkerSettings, broker: Broker, blobs: BlobStore, engine: Engine) -> Iterator[Trainee]:
    """A worker on an empty Redis."""
    trainee = Trainee(settings, broker, blobs, engine)
    yield trainee
    trainee.task.close()


def test_a_segment_is_reported_from_start_to_end(trainee: Trainee, caplog: pytest.LogCaptureFixture) -> None:
    segment = make_segment(trainee.blobs)
    with caplog.at_level(logging.INFO, "worker"):
        end = trainee.work(segment)
    first, *between, _ = events(trainee.broker)
    assert first == SegmentStarted(run_id=segment.run_id, attempt=1, worker="w@test")
    assert all(isinstance(event, SegmentProgress) and event.attempt == 1 for event in between)
    told = [event.progress.step for event in trainee.progress if event.progress]
    assert told == sorted(told)
    assert (end.step, end.failure, checkpoint_of(trainee.blobs, end).step) == (12, None, 12)
    (line,) = caplog.messages
    assert line.startswith(f"run {segment.run_id} train attempt 1: at step 12, 00000012-1-")


def test_a_stop_of_an_older_attempt_does_not_affect_a_newer_one(trainee: Trainee) -> None:
    segment = make_segment(trainee.blobs, attempt=2)
    trainee.broker.stop_segment(segment.run_id, 1)
    assert trainee.work(segment).step == 12


def test_the_lease_is_renewed_while_a_step_takes_long(trainee: Trainee) -> None:
    segment, gate = make_segment(trainee.blobs), Event()
    busy = trainee.engine.submit(lambda: gate.wait(WAIT_S), lane=LANE)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(trainee.task, dump_segment(segment))
        wait_until(lambda: sum(event.progress is None for event in trainee.progress) >= 3)
        gate.set()
        done.result(WAIT_S)
    assert busy.result(WAIT_S)
    assert trainee.end.step == 12
