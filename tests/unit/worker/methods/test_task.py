"""Tests of worker.methods.task."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from nst_core.protocol.chunks import StylizeChunk, dump_chunk
from nst_core.protocol.events import ChunkFinished, ChunkProgress, ChunkStarted, ItemOutcome
from tests.unit.worker.conftest import Worker
from tests.unit.worker.kit import (
    WAIT_S,
    Gate,
    Style,
    events,
    make_chunk,
    outputs,
    photo,
    wait_until,
)
from worker.methods.stylize.pipeline import Pipeline
from worker.runtime.outcomes import InterruptedWorkError


def finished(worker: Worker) -> ChunkFinished:
    """Return the last event, which must be the end of a chunk."""
    event = events(worker.broker)[-1]
    assert isinstance(event, ChunkFinished)
    return event


def sent(worker: Worker, chunk: StylizeChunk) -> StylizeChunk:
    """Record a chunk's attempt in Redis, as sending it does."""
    worker.broker.send_chunk(chunk)
    return chunk


def test_a_chunk_is_stylized_and_reported_from_start_to_end(worker: Worker, style: Style) -> None:
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


def test_a_chunk_is_logged_in_one_line(worker: Worker, style: Style, caplog: pytest.LogCaptureFixture) -> None:
    chunk = make_chunk(worker.blobs, [photo(), b"bad"], style=style)
    with caplog.at_level(logging.INFO, "worker"):
        worker.task()(dump_chunk(chunk))
    (line,) = caplog.messages
    assert f"job {chunk.job_id} chunk 1 attempt 1: 2 images, 1 failed, 0 not completed" in line


@pytest.mark.parametrize("message", [None, "x", [], {}, {"job_id": "j"}])
def test_a_message_that_is_not_a_chunk_is_dropped_with_a_reason(
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


def test_a_repeated_message_is_dropped_while_its_chunk_is_in_flight(worker: Worker, style: Style) -> None:
    gate = Gate()
    task = worker.task(lambda *_: gate)
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(task, dump_chunk(chunk))
        assert gate.entered.wait(WAIT_S)
        task(dump_chunk(chunk))
        gate.opened.set()
        first.result(WAIT_S)
    assert sum(isinstance(event, ChunkStarted) for event in events(worker.broker)) == 1


def test_a_chunk_of_a_cancelled_job_ends_at_once(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    worker.broker.cancel_job(chunk.job_id)
    worker.task(lambda *_: Gate())(dump_chunk(chunk))
    assert finished(worker).outcomes == ()


@pytest.mark.parametrize("why", ["cancel", "newer attempt", "stop"])
def test_images_that_were_not_started_have_no_outcome(worker: Worker, style: Style, why: str) -> None:
    gate = Gate()
    chunk = sent(worker, make_chunk(worker.blobs, [photo()] * 9, style=style))
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(worker.task(lambda *_: gate), dump_chunk(chunk))
        assert gate.entered.wait(WAIT_S)
        if why == "cancel":
            worker.broker.cancel_job(chunk.job_id)
        elif why == "newer attempt":
            sent(worker, replace(chunk, attempt=2))
        else:
            worker.stop.set()
        # Two heartbeats later, the report has asked whether the chunk is still wanted.
        before = len(events(worker.broker))
        wait_until(lambda: len(events(worker.broker)) >= before + 2)
        gate.opened.set()
        done.result(WAIT_S)
    # The image in the network is completed, unless a newer attempt will make it.
    outcomes = finished(worker).outcomes
    assert [outcome.succeeded for outcome in outcomes] == ([] if why == "newer attempt" else [True])
    assert list(outputs(worker.blobs, chunk)) == [outcome.index for outcome in outcomes]


def test_the_lease_is_renewed_while_an_image_takes_long(worker: Worker, style: Style) -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(worker.task(lambda *_: gate), dump_chunk(make_chunk(worker.blobs, [photo()], style=style)))
        assert gate.entered.wait(WAIT_S)
        wait_until(lambda: len(events(worker.broker)) >= 4)
        assert events(worker.broker)[1:4] == [ChunkProgress(chunk_id=1, attempt=1)] * 3
        gate.opened.set()
        done.result(WAIT_S)
    assert len(finished(worker).outcomes) == 1


def broken_pipeline(worker: Worker, error: Exception) -> Worker:
    """Return a worker whose pipeline breaks down as a whole after the first image."""

    class Broken(Pipeline):
        def run(self, *args: Any, **options: Any) -> Iterator[ItemOutcome]:
            yield next(super().run(*args, **options))
            raise error

    return replace(worker, pipeline=Broken(worker.settings, blobs=worker.blobs, engine=worker.engine))


def test_a_chunk_that_breaks_down_ends_with_retryable_failures(
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


def test_a_retiring_worker_returns_a_chunk_that_it_cannot_finish(worker: Worker, style: Style) -> None:
    chunk = make_chunk(worker.blobs, [photo()] * 3, style=style)
    broken_pipeline(worker, InterruptedWorkError()).task()(dump_chunk(chunk))
    assert [outcome.succeeded for outcome in finished(worker).outcomes] == [True]


def test_a_chunk_that_cannot_be_alone_is_given_back_without_blame(
    worker: Worker, style: Style, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("worker.runtime.isolation._PATIENCE_S", 0.1)
    task = worker.task()
    chunk = replace(make_chunk(worker.blobs, [photo()], style=style), alone=True)
    with (
        task._isolation.enter(alone=False, still=lambda: True, is_long=True),
        caplog.at_level(logging.INFO, "worker"),
    ):
        task(dump_chunk(chunk))
    first, *_ = events(worker.broker)
    assert first == ChunkStarted(chunk_id=1, attempt=1, worker="w@test", blameless=True)
    assert finished(worker).outcomes == ()
    assert "given back" in caplog.text
    task(dump_chunk(replace(chunk, attempt=2)))
    assert [outcome.succeeded for outcome in finished(worker).outcomes] == [True]


def test_a_repeated_message_is_dropped_after_the_end_of_its_chunk(worker: Worker, style: Style) -> None:
    task = worker.task()
    chunk = make_chunk(worker.blobs, [photo()], style=style)
    task(dump_chunk(chunk))
    task(dump_chunk(chunk))
    assert sum(isinstance(event, ChunkStarted) for event in events(worker.broker)) == 1
    task(dump_chunk(replace(chunk, attempt=2)))
    assert finished(worker).attempt == 2
