"""Tests of worker.segments.task: a worker without Celery."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

import boto3
import pytest
import torch
from botocore.config import Config

from nst_core.errors import NstError
from nst_core.protocol.events import SegmentFailure, SegmentFinished, SegmentProgress
from nst_core.protocol.segments import Phase, TrainSegment, dump_segment
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.servers import HOST, free_port
from tests.brokers import Broker
from tests.unit.worker.kit import WAIT_S, events, wait_until
from tests.unit.worker.training_kit import (
    TINY,
    checkpoint_of,
    make_segment,
    objects,
    put,
)
from worker.runtime.engine import Engine
from worker.segments.task import TrainTask
from worker.settings import WorkerSettings

ENDLESS = replace(TINY, steps=1_000_000)


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


@pytest.mark.parametrize("message", [None, "x", {}, {"run_id": "r"}])
def test_a_message_that_is_not_a_segment_is_dropped_with_a_reason(
    trainee: Trainee, message: object, caplog: pytest.LogCaptureFixture
) -> None:
    trainee.task(message)
    assert "dropped a message: A TrainSegment message is wrong at" in caplog.text
    assert events(trainee.broker) == []


def test_an_outdated_attempt_is_dropped_without_an_event(trainee: Trainee) -> None:
    segment = make_segment(trainee.blobs)
    trainee.broker.send_segment(replace(segment, attempt=2))
    trainee.task(dump_segment(segment))
    assert events(trainee.broker) == []


def test_a_second_delivery_is_dropped_while_the_first_is_in_flight_and_after(trainee: Trainee) -> None:
    segment = make_segment(trainee.blobs, config=ENDLESS)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(trainee.task, dump_segment(segment))
        wait_until(lambda: any(event.progress and event.progress.step for event in trainee.progress))
        trainee.task(dump_segment(segment))
        trainee.broker.stop_segment(segment.run_id, 1)
        first.result(WAIT_S)
    trainee.task(dump_segment(segment))
    assert sum(isinstance(event, SegmentFinished) for event in events(trainee.broker)) == 1
    assert len(objects(trainee.blobs, segment, "checkpoints/")) == 1


@pytest.mark.parametrize("why", ["stop", "newer attempt", "shutdown"])
def test_a_stopped_segment_ends_with_its_current_step(trainee: Trainee, why: str) -> None:
    segment = make_segment(trainee.blobs, config=ENDLESS)
    trainee.broker.send_segment(segment)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(trainee.task, dump_segment(segment))
        wait_until(lambda: any(event.progress and event.progress.step for event in trainee.progress))
        if why == "stop":
            trainee.broker.stop_segment(segment.run_id, 1)
        elif why == "newer attempt":
            trainee.broker.send_segment(replace(segment, attempt=2))
        else:
            trainee.stop.set()
        done.result(WAIT_S)
    end = trainee.end
    assert end.failure is None
    assert end.step > 0
    # A newer attempt does not continue from this one's checkpoint.
    assert (end.checkpoint is None) == (why == "newer attempt")
    if end.checkpoint:
        assert checkpoint_of(trainee.blobs, end).step == end.step


@pytest.mark.parametrize("phase", list(Phase))
def test_a_segment_stopped_before_its_start_ends_at_once(trainee: Trainee, phase: Phase) -> None:
    segment = make_segment(trainee.blobs, phase=phase, config=ENDLESS)
    trainee.broker.stop_segment(segment.run_id, 1)
    end = trainee.work(segment)
    assert (end.checkpoint, end.result, end.failure, end.step) == (None, None, None, 0)


def away() -> BlobStore:
    """Return a storage that does not answer."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{HOST}:{free_port()}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    return BlobStore(StorageSettings(), client=client)


class FullStore(BlobStore):
    """A storage that refuses checkpoints, as the policy of a bucket may."""

    def put(self, uri: BlobUri, data: bytes, **options: Any) -> None:
        bucket = "no-such-bucket" if "/checkpoints/" in uri.key else uri.bucket
        super().put(BlobUri(bucket, uri.key), data, **options)


def check_failure(trainee: Trainee, end: SegmentFinished, code: str, message: str, *, retryable: bool = False) -> None:
    """Assert that a segment failed with an error, and that the worker continues."""
    assert isinstance(end.failure, SegmentFailure)
    assert (end.failure.code, end.failure.retryable) == (code, retryable)
    assert message in end.failure.message
    assert (end.checkpoint, end.result) == (None, None)
    assert trainee.work(make_segment(trainee.blobs, config=replace(TINY, steps=1))).step == 1


def test_a_storage_that_does_not_answer_fails_the_segment_for_a_retry(trainee: Trainee) -> None:
    task = trainee.task_of(away())
    task(dump_segment(make_segment(trainee.blobs)))
    task.close()
    check_failure(trainee, trainee.end, "blob_unavailable", "did not answer", retryable=True)


def test_a_bucket_that_refuses_the_checkpoint_fails_the_segment(trainee: Trainee, s3_server: StorageSettings) -> None:
    task = trainee.task_of(FullStore(s3_server))
    task(dump_segment(make_segment(trainee.blobs)))
    task.close()
    check_failure(trainee, trainee.end, "blob_not_found", "no-such-bucket")


def test_a_training_that_diverges_fails(trainee: Trainee) -> None:
    config = replace(TINY, learning_rate=10.0, content_weight=1e30, style_weights={"relu1_2": 1e30})
    end = trainee.work(make_segment(trainee.blobs, config=config))
    check_failure(trainee, end, "training_diverged", "not finite")


def test_a_segment_without_usable_photos_fails(trainee: Trainee) -> None:
    end = trainee.work(make_segment(trainee.blobs, photos={"a.png": b"x"}))
    check_failure(trainee, end, "config_invalid", "None of the 1 photos can be used (a.png: ")


def test_a_config_of_another_version_fails_the_segment(trainee: Trainee) -> None:
    segment = make_segment(trainee.blobs)
    end = trainee.work(replace(segment, config={**segment.config, "magic": 1}))
    check_failure(trainee, end, "config_invalid", "magic")


def test_a_fault_of_the_network_fails_the_segment_for_a_retry(trainee: Trainee) -> None:
    closed, asked = Engine(), list[bool]()
    closed.close()
    task = replace(trainee, engine=closed).task

    def recovered(problem: NstError) -> bool:
        asked.append(True)
        return False

    task._recovered = recovered
    task(dump_segment(make_segment(trainee.blobs)))
    task.close()
    assert asked == [True], "whether the process is ill"
    message = "The network failed on the training: The engine is closed."
    check_failure(trainee, trainee.end, "engine_failed", message, retryable=True)


def test_the_error_names_an_unusable_cache_folder(trainee: Trainee, settings: WorkerSettings) -> None:
    settings.cache_dir.write_bytes(b"a file")
    end = trainee.work(make_segment(trainee.blobs))
    assert end.failure is not None
    assert "NST_CACHE_DIR" in end.failure.message


def test_a_segment_cannot_resume_from_a_file_that_is_not_a_checkpoint(trainee: Trainee) -> None:
    end = trainee.work(make_segment(trainee.blobs, checkpoint=put(trainee.blobs, "style", b"no checkpoint at all")))
    check_failure(trainee, end, "weights_invalid", "is damaged")
