"""Guarantees of the queue: no item is lost or counted twice, whatever workers, messages and schedulers do."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus
from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import Event, ItemOutcome
from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain.errors import InFlightError, KeyReusedError
from scheduler.jobs.finalizer import Finalizer
from scheduler.local.servers import HOST, free_port
from tests.integration.conftest import (
    BACKOFF_S,
    DISPATCH_LEASE_S,
    LEASE_S,
    LOST_AFTER_S,
    TENANT,
    Rig,
    finished,
    outcome,
    progress,
    read_lines,
    started,
)


def dispatch(rig: Rig) -> list[StylizeChunk]:
    rig.plan()
    rig.dispatcher.tick()
    return rig.take_all()


def test_job_runs_to_success_and_reports_each_item_once(rig: Rig) -> None:
    job_id = rig.submit(23, styles=("wave", "udnie"))
    rig.run_to_end()
    job = rig.job(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert (job.counts.total, job.counts.succeeded) == (46, 46)
    lines = [json.loads(line) for line in read_lines(rig, job, "results.jsonl")]
    assert [line["id"] for line in lines] == list(range(46))
    assert len({line["output"] for line in lines}) == 46
    assert lines[3] | {"style": "udnie", "sha256": f"{3:064x}"} == lines[3]
    assert read_lines(rig, job, "errors.jsonl") == []


def test_chunks_hold_one_style_and_no_more_than_their_size(rig: Rig) -> None:
    rig.submit(5, styles=("wave", "udnie"))
    chunks = dispatch(rig)
    assert [(chunk.style.name, [item.index for item in chunk.items]) for chunk in chunks] == [
        ("wave", [0, 2, 4, 6]),
        ("udnie", [1, 3, 5, 7]),
        ("wave", [8]),
        ("udnie", [9]),
    ]


def test_window_limits_the_messages_in_redis(rig: Rig) -> None:
    rig.submit(100)
    rig.plan()
    rig.dispatcher.tick()
    rig.dispatcher.tick()
    assert rig.broker.queued(StylizeChunk.queue) == 4


def test_small_job_is_not_starved_by_a_large_one(rig: Rig) -> None:
    large = rig.submit(100)
    dispatch(rig)
    assert dispatch(rig) == [], "the window is full until a chunk is begun"
    small = rig.submit(4)
    assert [chunk.job_id for chunk in dispatch(rig)] == [small]
    assert rig.job(large).counts.pending > 80


def test_duplicated_and_reordered_events_change_nothing(rig: Rig) -> None:
    job_id = rig.submit(16)
    events: list[Event] = []
    for chunk in dispatch(rig):
        first = chunk.items[0].index
        events += [started(chunk), progress(chunk, first), progress(chunk), finished(chunk)] * 3
    random.Random(7).shuffle(events)
    for event in events:
        rig.report(event)
        rig.job(job_id)
    rig.finalizer.tick()
    assert rig.job(job_id).counts.succeeded == 16
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_outdated_attempt_has_no_effect(rig: Rig) -> None:
    job_id = rig.submit(4)
    [old] = dispatch(rig)
    rig.report(started(old))
    rig.clock.advance(LEASE_S + 1)
    assert rig.reaper.tick()
    [new] = dispatch(rig)
    assert (new.chunk_id, new.attempt) == (old.chunk_id, 2)
    rig.report(progress(old, 0, 1), finished(old))
    assert rig.job(job_id).counts.succeeded == 0
    assert rig.broker.is_outdated(old.chunk_id, old.attempt)
    assert not rig.broker.is_outdated(new.chunk_id, new.attempt)
    rig.report(started(new), finished(new))
    assert rig.job(job_id).counts.succeeded == 4


def test_retry_carries_only_unfinished_items(rig: Rig) -> None:
    rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk), progress(chunk, 0, 2))
    rig.clock.advance(LEASE_S + 1)
    rig.reaper.tick()
    [again] = dispatch(rig)
    assert [item.index for item in again.items] == [1, 3]


def test_heartbeat_renews_the_lease(rig: Rig) -> None:
    rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk))
    for _ in range(5):
        rig.clock.advance(LEASE_S - 1)
        rig.report(progress(chunk))
        assert not rig.reaper.tick()


def test_image_that_kills_its_worker_fails_alone(rig: Rig) -> None:
    job_id = rig.submit(4)
    poison = 2
    for _ in range(30):
        chunks = dispatch(rig)
        if not chunks:
            break
        for chunk in chunks:
            rig.report(started(chunk))
            if any(item.index == poison for item in chunk.items):
                rig.clock.advance(LEASE_S + 1)
                rig.reaper.tick()
            else:
                rig.report(finished(chunk))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert job.status is JobStatus.PARTIALLY_SUCCEEDED
    [error] = [json.loads(line) for line in read_lines(rig, job, "errors.jsonl")]
    assert (error["id"], error["code"]) == (poison, "worker_lost")


def test_messages_are_sent_again_after_redis_was_flushed(rig: Rig, redis_server: BrokerSettings) -> None:
    job_id = rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    make_redis(redis_server).flushall()
    assert not rig.reaper.tick(), "an empty queue is no proof yet"
    rig.clock.advance(LOST_AFTER_S + 1)
    assert rig.reaper.tick()
    rig.run_to_end()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_waiting_message_is_not_treated_as_lost(rig: Rig) -> None:
    rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    for _ in range(10):
        rig.clock.advance(LOST_AFTER_S + 1)
        assert not rig.reaper.tick()
    rig.clock.advance(DISPATCH_LEASE_S)
    assert rig.reaper.tick(), "in the end the dispatch lease runs out"


def test_scheduler_that_dies_between_claim_and_send_loses_nothing(rig: Rig) -> None:
    job_id = rig.submit(8)
    rig.plan()
    job = rig.job(job_id)
    assert rig.dispatcher._claim(job.id) is not None  # the process dies here
    rig.reaper.tick()
    rig.clock.advance(LOST_AFTER_S + 1)
    rig.reaper.tick()
    rig.run_to_end()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_two_schedulers_never_claim_one_attempt_twice(rig: Rig) -> None:
    rig.submit(40)
    rig.plan()
    jobs = rig.service.jobs(TENANT, limit=1, after_id=None)
    others = [rig.new_dispatcher() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda other: [other._claim(jobs[0].id) for _ in range(20)], others))
    taken = [(chunk.chunk_id, chunk.attempt) for mine in claims for chunk in mine if chunk is not None]
    assert len(taken) == len(set(taken)) == 10


def failing(code: str, *, retryable: bool, only: int) -> Callable[[int], ItemOutcome]:
    def make(index: int) -> ItemOutcome:
        if index != only:
            return outcome(index)
        return ItemOutcome(index=index, ms=1, error_code=code, error_message="No.", retryable=retryable)

    return make


def test_bad_image_fails_alone_and_at_once(rig: Rig) -> None:
    job_id = rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk), finished(chunk, failing("image_undecodable", retryable=False, only=1)))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.counts.failed) == (JobStatus.PARTIALLY_SUCCEEDED, 1)


def test_temporary_fault_is_retried_with_growing_pauses_and_then_fails(rig: Rig) -> None:
    job_id = rig.submit(4)
    make = failing("blob_unavailable", retryable=True, only=3)
    [chunk] = dispatch(rig)
    for attempt in (1, 2):
        rig.report(started(chunk), finished(chunk, make))
        assert rig.job(job_id).counts.pending == 1
        rig.clock.advance(BACKOFF_S * 2 ** (attempt - 1) - 0.5)
        assert dispatch(rig) == []
        rig.clock.advance(1)
        [chunk] = dispatch(rig)
        assert [item.index for item in chunk.items] == [3]
    rig.report(started(chunk), finished(chunk, make))
    items = rig.service.items(TENANT, job_id, limit=10, after=-1, status=ItemStatus.FAILED)
    assert [(item.index, item.error_code, item.attempt) for item in items] == [(3, "blob_unavailable", 3)]


def test_worker_that_shuts_down_returns_the_rest_without_penalty(rig: Rig) -> None:
    job_id = rig.submit(4)
    for _ in range(5):
        [chunk] = dispatch(rig)
        rig.report(started(chunk), finished(chunk, lambda index: None))
        assert rig.job(job_id).counts.pending == 4
    [chunk] = dispatch(rig)
    assert len(chunk.items) == 4
    rig.report(finished(chunk))
    assert rig.job(job_id).counts.succeeded == 4


def test_cancel_keeps_finished_items_and_waits_for_running_ones(rig: Rig) -> None:
    job_id = rig.submit(40)
    [first, second, *others] = dispatch(rig)
    rig.report(started(first), finished(first), started(second))
    rig.service.cancel(TENANT, job_id)
    job = rig.job(job_id)
    assert job.status is JobStatus.CANCELLING
    assert (job.counts.succeeded, job.counts.running, job.counts.pending, job.counts.cancelled) == (4, 4, 8, 24)
    rig.withdrawer.tick()
    assert rig.broker.is_cancelled(job_id)
    rig.service.cancel(TENANT, job_id)
    rig.report(*(finished(chunk, lambda index: None) for chunk in others))
    one = second.items[0].index
    rig.report(finished(second, lambda index: outcome(index) if index == one else None))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert job.status is JobStatus.CANCELLED
    assert (job.counts.succeeded, job.counts.cancelled) == (5, 35)
    assert len(read_lines(rig, job, "results.jsonl")) == 5
    assert rig.service.cancel(TENANT, job_id).status is JobStatus.CANCELLED


def test_cancelled_job_ends_although_its_worker_died(rig: Rig) -> None:
    job_id = rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk))
    rig.service.cancel(TENANT, job_id)
    rig.clock.advance(LEASE_S + 1)
    rig.reaper.tick()
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.CANCELLED


def test_same_idempotency_key_gives_the_same_job(rig: Rig) -> None:
    request = rig.request(3)
    first, new = rig.service.submit(TENANT, request, idempotency_key="k")
    again, new_again = rig.service.submit(TENANT, request, idempotency_key="k")
    assert (first.id, new, new_again) == (again.id, True, False)
    with pytest.raises(KeyReusedError):
        rig.service.submit(TENANT, rig.request(4), idempotency_key="k")
    other, new_other = rig.service.submit(rig.add_tenant("other"), rig.request(3), idempotency_key="k")
    assert new_other
    assert other.id != first.id


def test_concurrent_submissions_with_one_key_make_one_job(rig: Rig) -> None:
    request = rig.request(3)

    def submit(_: int) -> tuple[str, bool] | None:
        try:
            job, new = rig.service.submit(TENANT, request, idempotency_key="k")
        except InFlightError:
            return None
        return job.id, new

    with ThreadPoolExecutor(8) as pool:
        results = [result for result in pool.map(submit, range(16)) if result is not None]
    assert len({job_id for job_id, _ in results}) == 1
    assert sum(new for _, new in results) == 1
    assert [job.id for job in rig.service.jobs(TENANT, limit=9, after_id=None)] == [results[0][0]]


def test_job_whose_reports_cannot_be_written_ends_and_delays_no_other(rig: Rig) -> None:
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/taken"), b"a file, and no folder")
    refused = rig.submit(1, output_prefix=f"s3://nst/{rig.prefix}/taken/")
    fine = rig.submit(1)
    rig.run_to_end()
    assert rig.job(fine).status is JobStatus.SUCCEEDED
    job = rig.job(refused)
    assert (job.status, job.error_code) == (JobStatus.PARTIALLY_SUCCEEDED, "reports_failed")


def test_reports_wait_an_hour_for_a_storage_that_does_not_answer(rig: Rig) -> None:
    away = StorageSettings(s3_endpoint=f"http://{HOST}:{free_port()}", s3_access_key="x", s3_secret_key="x")
    rig.finalizer = Finalizer(rig.database, BlobStore(away, patient=False), clock=rig.clock, timer=rig.clock)
    job_id = rig.submit(1)
    rig.run_to_end()
    assert rig.job(job_id).status is JobStatus.FINALIZING
    rig.clock.advance(3601)
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.PARTIALLY_SUCCEEDED, "reports_failed")


def test_event_that_cannot_be_stored_is_dropped_and_delays_no_other(rig: Rig) -> None:
    job_id = rig.submit(4)
    [chunk] = dispatch(rig)
    wild = ItemOutcome(index=0, ms=2**70, error_code="x", error_message="nul \0")
    rig.report(started(chunk), finished(chunk, lambda index: wild), finished(chunk))
    assert rig.job(job_id).counts.succeeded == 4
