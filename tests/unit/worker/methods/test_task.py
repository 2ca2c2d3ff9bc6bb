"""Tests of worker.methods.task."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
import torch
from botocore.config import Config

from nst_core.protocol.chunks import StylizeChunk, dump_chunk, item_checkpoint_uri
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted, ItemOutcome
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.servers import HOST, free_port
from tests.unit.worker.conftest import Worker
from tests.unit.worker.kit import (
    TINY,
    WAIT_S,
    Gate,
    Invert,
    Style,
    events,
    make_chunk,
    make_optimize_chunk,
    outputs,
    photo,
    wait_until,
)
from worker.methods.optimize.course import Optimization
from worker.methods.optimize.task import OptimizeTask
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError


def finished(worker: Worker) -> ChunkFinished:
    """Return the last event, which is a chunk's end."""
    event = events(worker.broker)[-1]
    assert isinstance(event, ChunkFinished)
    return event


def sent(worker: Worker, chunk: StylizeChunk) -> StylizeChunk:
    """Note a chunk's attempt in Redis, as sending it does."""
    worker.broker.send_chunk(chunk)
    return chunk


def test_a_chunk_is_stylized_and_told_from_start_to_end(worker: Worker, style: Style) -> None:
    chunk = sent(worker, make_chunk(worker.blobs, [photo(seed) for seed in range(5)], style=style))
    worker.task()(dump_chunk(chunk))
    first, *progress, last = events(worker.broker)
    assert first == ChunkStarted(chunk_id=1, attempt=1, worker="w@test")
    assert isinstance(last, ChunkFinished)
    assert sorted(outcome.index for outcome in last.outcomes) == list(range(5))
    assert all(outcome.succeeded for outcome in last.outcomes)
    told = list[ItemOutcome]()
    for event in progress:
        assert isinstance(event, ChunkProgress)
        told += event.outcomes
    assert told == list(last.outcomes[: len(told)])
    assert len(outputs(worker.blobs, chunk)) == 5


def test_one_line_tells_about_the_chunk(worker: Worker, style: Style, caplog: pytest.LogCaptureFixture) -> None:
    chunk = make_chunk(worker.blobs, [photo(), b"bad"], style=style)
    with caplog.at_level(logging.INFO, "worker"):
        worker.task()(dump_chunk(chunk))
    (line,) = caplog.messages
    assert f"job {chunk.job_id} chunk 1 attempt 1: 2 images, 1 failed, 0 not completed" in line


@pytest.mark.parametrize("message", [None, "x", [], {}, {"job_id": "j"}])
def test_a_message_that_is_no_chunk_is_dropped_with_its_reason(
    worker: Worker, message: object, caplog: pytest.LogCaptureFixture
) -> None:
    worker.task()(message)
    assert "dropped a message: A StylizeChunk message is wrong at" in caplog.text
    assert events(worker.broker) == []


def test_an_outdated_attempt_is_dropped_without_an_event(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    sent(worker, replace(chunk, attempt=2))
    worker.task()(dump_chunk(chunk))
    assert events(worker.broker) == []
    assert outputs(worker.blobs, chunk) == {}


def test_a_message_that_comes_again_while_its_chunk_is_in_flight_is_dropped(worker: Worker, style: Style) -> None:
    gate = Gate()
    task = worker.task(lambda _: gate)
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(task, dump_chunk(chunk))
        assert gate.entered.wait(WAIT_S)
        task(dump_chunk(chunk))
        gate.opened.set()
        first.result(WAIT_S)
    assert sum(isinstance(event, ChunkStarted) for event in events(worker.broker)) == 1


def test_a_chunk_of_a_job_that_was_cancelled_before_ends_at_once(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    worker.broker.cancel_job(chunk.job_id)
    worker.task(lambda _: Gate())(dump_chunk(chunk))
    assert finished(worker).outcomes == ()


@pytest.mark.parametrize("why", ["cancel", "newer attempt", "stop"])
def test_images_that_were_not_begun_have_no_outcome(worker: Worker, style: Style, why: str) -> None:
    gate = Gate()
    chunk = sent(worker, make_chunk(worker.blobs, [photo()] * 9, style=style))
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(worker.task(lambda _: gate), dump_chunk(chunk))
        assert gate.entered.wait(WAIT_S)
        if why == "cancel":
            worker.broker.cancel_job(chunk.job_id)
        elif why == "newer attempt":
            sent(worker, replace(chunk, attempt=2))
        else:
            worker.stop.set()
        # Two signs of life later the report has asked whether the chunk is still wanted.
        before = len(events(worker.broker))
        wait_until(lambda: len(events(worker.broker)) >= before + 2)
        gate.opened.set()
        done.result(WAIT_S)
    # The image in the network is completed, unless a newer attempt makes it.
    outcomes = finished(worker).outcomes
    assert [outcome.succeeded for outcome in outcomes] == ([] if why == "newer attempt" else [True])
    assert list(outputs(worker.blobs, chunk)) == [outcome.index for outcome in outcomes]


def test_the_lease_is_renewed_while_an_image_takes_long(worker: Worker, style: Style) -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(worker.task(lambda _: gate), dump_chunk(make_chunk(worker.blobs, [photo()], style=style)))
        assert gate.entered.wait(WAIT_S)
        wait_until(lambda: len(events(worker.broker)) >= 4)
        assert events(worker.broker)[1:4] == [ChunkProgress(chunk_id=1, attempt=1)] * 3
        gate.opened.set()
        done.result(WAIT_S)
    assert len(finished(worker).outcomes) == 1


def test_damaged_weights_fail_every_item(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo(), photo()], style=style)
    wrong = replace(chunk, style=replace(chunk.style, version="0" * 64))
    worker.task()(dump_chunk(wrong))
    outcomes = finished(worker).outcomes
    assert [(outcome.index, outcome.error_code, outcome.retryable) for outcome in outcomes] == [
        (0, "weights_invalid", False),
        (1, "weights_invalid", False),
    ]


def test_weights_that_the_storage_does_not_give_now_fail_every_item_for_the_time_being(
    worker: Worker, style: Style
) -> None:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{HOST}:{free_port()}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    away = BlobStore(StorageSettings(), client=client)
    worker.task(blobs=away)(dump_chunk(make_chunk(worker.blobs, [photo()], style=style)))
    (outcome,) = finished(worker).outcomes
    assert (outcome.error_code, outcome.retryable) == ("blob_unavailable", True)


def test_a_network_that_does_not_fit_the_memory_fails_every_item(worker: Worker, style: Style) -> None:
    def build(data: bytes) -> Invert:
        raise RuntimeError("CUDA out of memory")

    worker.task(build)(dump_chunk(make_chunk(worker.blobs, [photo()], style=style)))
    assert finished(worker).outcomes[0].error_code == "engine_failed"


def optimize_task(worker: Worker, engine: Engine) -> OptimizeTask:
    """Return the task of the slow method."""
    optimization = Optimization(worker.settings, blobs=worker.blobs, engine=engine, device=torch.device("cpu"))
    return OptimizeTask(worker.parts, optimization=optimization)


def test_an_optimisation_is_told_from_start_to_end(worker: Worker, engine: Engine) -> None:
    chunk = make_optimize_chunk(worker.blobs, [photo(1)], painting=photo(2))
    optimize_task(worker, engine)(dump_chunk(chunk))
    first, *between, last = events(worker.broker)
    assert first == ChunkStarted(chunk_id=1, attempt=1, worker="w@test")
    assert isinstance(last, ChunkFinished)
    assert last.outcomes[0].succeeded
    told = [
        progress.iteration
        for event in [*between, last]
        if isinstance(event, ChunkProgress | ChunkFinished)
        for progress in event.progress
    ]
    assert told == sorted(set(told))
    assert told[-1] == TINY.iterations


@pytest.mark.parametrize("why", ["cancel", "newer attempt", "stop"])
def test_an_optimisation_that_is_not_to_go_on_ends_without_an_outcome(worker: Worker, engine: Engine, why: str) -> None:
    endless = replace(TINY, iterations=1_000_000)
    chunk = make_optimize_chunk(worker.blobs, [photo(1)], painting=photo(2), config=endless)
    worker.broker.send_chunk(chunk)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(optimize_task(worker, engine), dump_chunk(chunk))
        wait_until(lambda: any(isinstance(e, ChunkProgress) and e.progress for e in events(worker.broker)))
        if why == "cancel":
            worker.broker.cancel_job(chunk.job_id)
        elif why == "newer attempt":
            worker.broker.send_chunk(replace(chunk, attempt=2))
        else:
            worker.stop.set()
        done.result(WAIT_S)
    assert finished(worker).outcomes == ()
    assert outputs(worker.blobs, chunk) == {}
    # What a newer attempt or nobody goes on with is not saved, what was only interrupted is.
    assert worker.blobs.exists(BlobUri.parse(item_checkpoint_uri(chunk.scratch, 0))) == (why == "stop")


def broken_pipeline(worker: Worker, error: Exception) -> Worker:
    """Return a worker whose pipeline breaks down as a whole after the first image."""

    class Broken(Pipeline):
        def run(self, *args: Any, **options: Any) -> Iterator[ItemOutcome]:
            yield next(super().run(*args, **options))
            raise error

    return replace(worker, pipeline=Broken(worker.settings, blobs=worker.blobs, engine=worker.engine))


def test_a_chunk_that_breaks_down_ends_with_failures_that_are_retried(
    worker: Worker, style: Style, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = make_chunk(worker.blobs, [photo()] * 3, style=style)
    broken_pipeline(worker, ValueError("a bug")).task()(dump_chunk(chunk))
    outcomes = sorted(finished(worker).outcomes, key=lambda outcome: outcome.succeeded, reverse=True)
    assert [(outcome.error_code, outcome.retryable) for outcome in outcomes] == [
        (None, False),
        ("internal", True),
        ("internal", True),
    ]
    assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2]
    assert outcomes[1].error_message == "The worker failed on the chunk."
    assert "a bug" in caplog.text


def test_a_chunk_that_a_retiring_worker_cannot_finish_is_given_back(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo()] * 3, style=style)
    broken_pipeline(worker, InterruptedWorkError()).task()(dump_chunk(chunk))
    assert [outcome.succeeded for outcome in finished(worker).outcomes] == [True]


def test_a_message_that_comes_again_after_the_end_of_its_chunk_is_dropped(worker: Worker, style: Style) -> None:
    task = worker.task()
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    task(dump_chunk(chunk))
    task(dump_chunk(chunk))
    assert sum(isinstance(event, ChunkStarted) for event in events(worker.broker)) == 1
    task(dump_chunk(replace(chunk, attempt=2)))
    assert finished(worker).attempt == 2
