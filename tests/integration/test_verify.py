"""If a late attempt replaced results, the job's reports describe what is in storage."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from nst_core.client.resources.jobs import JobStatus
from nst_core.protocol.chunks import ChunkMessage
from nst_core.protocol.events import ItemOutcome
from nst_core.storage.blobs import BlobUri
from scheduler.domain.jobs import RESULTS_NAME
from scheduler.jobs.verify import AT_ONCE, Verifier
from tests.integration.conftest import BACKOFF_S, LEASE_S, TENANT, Rig, finished, read_lines, started
from tests.playing_s3 import PlayingServer, playing


@pytest.fixture
def server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


def content(attempt: int, index: int) -> bytes:
    return f"attempt {attempt} at {index}".encode()


def write(rig: Rig, chunk: ChunkMessage) -> None:
    """Write the results of an attempt."""
    for item in chunk.items:
        rig.blobs.put(BlobUri.parse(item.output), content(chunk.attempt, item.index))


def outcome_of(chunk: ChunkMessage, index: int) -> ItemOutcome:
    data = content(chunk.attempt, index)
    digest = hashlib.sha256(data).hexdigest()
    return ItemOutcome(
        index=index, ms=5, sha256=digest, bytes=len(data), width=64, height=48, engine="eager", precision="fp32"
    )


def twice_tried(rig: Rig, *, photos: int) -> tuple[str, ChunkMessage, ChunkMessage]:
    """Run a job whose first attempt becomes silent, up to its reports. Return its id and both attempts."""
    job_id = rig.submit(photos)
    rig.plan()
    rig.dispatcher.tick()
    first = rig.take()
    assert first is not None
    rig.report(started(first))
    rig.clock.advance(LEASE_S + 1)
    assert rig.reaper.tick()
    rig.clock.advance(BACKOFF_S)
    rig.dispatcher.tick()
    second = rig.take()
    assert second is not None
    assert (second.chunk_id, second.attempt) == (first.chunk_id, 2)
    write(rig, second)
    rig.report(started(second), finished(second, lambda index: outcome_of(second, index)))
    assert rig.job(job_id).status is JobStatus.FINALIZING
    return job_id, first, second


def results(rig: Rig, job_id: str) -> list[tuple[int, str, int]]:
    lines = [json.loads(line) for line in read_lines(rig, rig.job(job_id), RESULTS_NAME)]
    return [(line["id"], line["sha256"], line["bytes"]) for line in lines]


def said(chunk: ChunkMessage) -> list[tuple[int, str | None, int | None]]:
    outcomes = [outcome_of(chunk, item.index) for item in chunk.items]
    return [(outcome.index, outcome.sha256, outcome.bytes) for outcome in outcomes]


def test_reports_describe_results_that_a_late_attempt_has_replaced(rig: Rig) -> None:
    job_id, first, _ = twice_tried(rig, photos=3)
    write(rig, first)
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED
    assert results(rig, job_id) == said(first)
    item, pieces = rig.service.output(TENANT, job_id, 0)
    assert b"".join(pieces) == content(1, 0)
    assert item.sha256 == hashlib.sha256(content(1, 0)).hexdigest()
    assert (item.engine, item.precision) == (None, None), "nobody knows which engine made the late result"


def test_unchanged_results_are_reported_unchanged(rig: Rig) -> None:
    job_id, _, second = twice_tried(rig, photos=3)
    rig.finalizer.tick()
    assert results(rig, job_id) == said(second)
    item, _ = rig.service.output(TENANT, job_id, 0)
    assert (item.engine, item.precision) == ("eager", "fp32")


def test_a_removed_result_does_not_prevent_a_job_from_ending(rig: Rig) -> None:
    job_id, _, second = twice_tried(rig, photos=3)
    rig.blobs.delete(BlobUri.parse(second.items[1].output))
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED
    assert results(rig, job_id) == said(second)


def test_many_results_are_verified_one_page_at_a_time(rig: Rig) -> None:
    rig.page, rig.chunk_size = 1000, AT_ONCE + 5
    rig.__post_init__()
    job_id, _, _ = twice_tried(rig, photos=AT_ONCE + 5)
    assert rig.finalizer.tick() is False
    assert rig.job(job_id).status is JobStatus.FINALIZING
    assert rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_no_result_is_read_if_the_storage_supports_conditional_writes(rig: Rig, server: PlayingServer) -> None:
    job_id, _, _ = twice_tried(rig, photos=3)
    assert Verifier(rig.database, server.store()).verify(rig.job(job_id))
    assert server.count("GET") == 0
    assert server.count("PUT") == 3, "the probe alone"
