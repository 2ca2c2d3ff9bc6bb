"""Retries of ended jobs: which items are done again, and what else must hold."""

import json

import pytest

from nst_core.client.resources.jobs import JobInput, JobStatus
from nst_core.protocol.chunks import StylizeChunk
from nst_core.storage.blobs import BlobUri
from scheduler.domain.errors import (
    ConflictError,
    KeyReusedError,
    NotFoundError,
    NothingToRetryError,
    QuotaExceededError,
    ResourceDeletedError,
)
from scheduler.jobs import lifecycle
from scheduler.jobs import planner as plan
from scheduler.jobs.expiry import Expirer
from scheduler.jobs.finalizer import OutdatedError
from scheduler.store.tenants import Tenant
from tests.integration.conftest import TENANT, Rig, finished, read_lines, started
from tests.integration.job_kit import dispatch, end, failing


def expire(rig: Rig) -> bool:
    return Expirer(rig.database, clock=rig.clock).tick()


def dispatch_now(rig: Rig) -> list[StylizeChunk]:
    rig.dispatcher.tick()
    return rig.take_all()


def test_retry_does_failed_items_again_and_rewrites_the_reports(rig: Rig) -> None:
    job_id = rig.submit(10, styles=("wave", "udnie"))
    end(rig, failing(3, 4, 17))
    assert rig.job(job_id).status is JobStatus.PARTIALLY_SUCCEEDED
    assert len(read_lines(rig, rig.job(job_id), "errors.jsonl")) == 3
    job, _ = rig.service.retry(TENANT, job_id)
    assert (job.status, job.counts.pending, job.counts.failed, job.finished_at) == (JobStatus.RUNNING, 3, 0, None)
    chunks = dispatch(rig)
    assert sorted((chunk.style.name, [item.index for item in chunk.items]) for chunk in chunks) == [
        ("udnie", [3, 17]),
        ("wave", [4]),
    ]
    assert {chunk.attempt for chunk in chunks} == {1}
    for chunk in chunks:
        rig.report(started(chunk), finished(chunk, failing(17)))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded, job.counts.failed) == (JobStatus.PARTIALLY_SUCCEEDED, 19, 1)
    assert [json.loads(line)["id"] for line in read_lines(rig, job, "errors.jsonl")] == [17]
    assert len(read_lines(rig, job, "results.jsonl")) == 19


def test_retry_of_one_code_leaves_other_failures(rig: Rig) -> None:
    job_id = rig.submit(4)
    end(rig, lambda index: failing(0)(index) if index < 2 else failing(2, code="blob_not_found")(index))
    job, _ = rig.service.retry(TENANT, job_id, codes=["blob_not_found"])
    assert (job.counts.pending, job.counts.failed) == (1, 1)
    end(rig)
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded) == (JobStatus.PARTIALLY_SUCCEEDED, 3)
    with pytest.raises(NothingToRetryError):
        rig.service.retry(TENANT, job_id, codes=["blob_not_found"])


def test_items_that_planning_refused_are_not_retried(rig: Rig) -> None:
    manifest = BlobUri("nst", f"{rig.prefix}/m.jsonl")
    line = json.dumps({"input": f"s3://nst/{rig.prefix}/a.jpg"}).encode()
    rig.blobs.put(manifest, b"no json\n" + line + b"\n" + line)
    job_id = rig.submit(JobInput(manifest=str(manifest)))
    end(rig, failing(1))
    assert rig.job(job_id).counts.failed == 3
    job, _ = rig.service.retry(TENANT, job_id)
    assert (job.counts.pending, job.counts.failed) == (1, 2)
    end(rig)
    assert rig.job(job_id).status is JobStatus.PARTIALLY_SUCCEEDED
    with pytest.raises(NothingToRetryError):
        rig.service.retry(TENANT, job_id)


def test_retry_waits_for_the_end_and_needs_a_failure(rig: Rig) -> None:
    job_id = rig.submit(4)
    with pytest.raises(ConflictError) as caught:
        rig.service.retry(TENANT, job_id)
    assert caught.value.code == "conflict"
    end(rig)
    with pytest.raises(NothingToRetryError):
        rig.service.retry(TENANT, job_id, cancelled=True)


def test_retry_of_a_cancelled_job_does_its_cancelled_items_and_the_rest_of_its_input(rig: Rig) -> None:
    job_id = rig.submit(40)
    rig.planner.tick()
    [first, *others] = dispatch_now(rig)
    rig.report(started(first), finished(first))
    rig.service.cancel(TENANT, job_id)
    rig.report(*(finished(chunk, lambda index: None) for chunk in others))
    rig.withdrawer.tick()
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.CANCELLED
    with pytest.raises(NothingToRetryError):
        rig.service.retry(TENANT, job_id)
    job, _ = rig.service.retry(TENANT, job_id, cancelled=True)
    assert (job.status, job.stop, job.counts.cancelled) == (JobStatus.PLANNING, None, 0)
    rig.withdrawer.tick()
    assert dispatch_now(rig) == [], "they are in no chunk yet"
    rig.planner.tick()
    chunks = dispatch_now(rig)
    assert chunks
    assert not rig.broker.is_cancelled(job_id), "workers do not take it for cancelled any more"
    for chunk in chunks:
        rig.report(started(chunk), finished(chunk))
    end(rig)
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded) == (JobStatus.SUCCEEDED, 40)
    assert len(read_lines(rig, job, "results.jsonl")) == 40


def stopped_while_planned(rig: Rig, **changes: object) -> str:
    """Return the id of a job of 40 photos that was cancelled after a page of them; the first of these failed."""
    job_id = rig.submit(40, **changes)
    rig.planner.tick()
    [first, *others] = dispatch_now(rig)
    rig.report(started(first), finished(first, failing(0)))
    rig.service.cancel(TENANT, job_id)
    rig.report(*(finished(chunk, lambda index: None) for chunk in others))
    rig.withdrawer.tick()
    rig.finalizer.tick()
    return job_id


def test_retry_of_cancelled_items_reads_the_rest_of_an_input_also_after_a_retry_that_did_not(rig: Rig) -> None:
    job_id = stopped_while_planned(rig)
    for _ in range(2):
        rig.service.retry(TENANT, job_id)
        end(rig, failing(0))
        job = rig.job(job_id)
        assert (job.error_code, job.counts.total < 40) == ("input_incomplete", True)
    job, _ = rig.service.retry(TENANT, job_id, cancelled=True)
    assert (job.status, job.error_code) == (JobStatus.PLANNING, None)
    end(rig)
    job = rig.job(job_id)
    assert (job.status, job.error_code, job.counts.succeeded) == (JobStatus.SUCCEEDED, None, 40)
    with pytest.raises(NothingToRetryError):
        rig.service.retry(TENANT, job_id, cancelled=True)


def test_it_is_not_forgotten_that_an_input_is_incomplete_if_too_many_images_fail_then(rig: Rig) -> None:
    job_id = stopped_while_planned(rig, max_failures=0)
    rig.service.retry(TENANT, job_id)
    end(rig, failing(0))
    assert rig.job(job_id).error_code == "max_failures"
    rig.service.retry(TENANT, job_id)
    end(rig)
    assert rig.job(job_id).error_code == "input_incomplete"
    rig.service.retry(TENANT, job_id, cancelled=True)
    end(rig)
    assert (rig.job(job_id).status, rig.job(job_id).counts.succeeded) == (JobStatus.SUCCEEDED, 40)


def test_expired_job_is_retried_without_its_deadline(rig: Rig) -> None:
    job_id = rig.submit(4, expires_after_s=5.0)
    rig.plan()
    rig.clock.advance(6)
    expire(rig)
    rig.finalizer.tick()
    rig.service.retry(TENANT, job_id, cancelled=True)
    assert not expire(rig)
    end(rig)
    assert (rig.job(job_id).status, rig.job(job_id).deadline) == (JobStatus.SUCCEEDED, None)


def test_retried_job_is_allowed_as_many_failures_again(rig: Rig) -> None:
    job_id = rig.submit(8, max_failures=1)
    [first, *others] = dispatch(rig)
    rig.report(started(first), finished(first, failing(0, 1, 2)))
    rig.report(*(finished(chunk, lambda index: None) for chunk in others))
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.FAILED
    rig.service.retry(TENANT, job_id, codes=["none"], cancelled=True)
    end(rig, failing(5))
    job = rig.job(job_id)
    assert (job.status, job.error_code, job.counts.failed) == (JobStatus.PARTIALLY_SUCCEEDED, None, 4)


def test_counts_stay_right_if_a_retry_is_stopped(rig: Rig) -> None:
    job_id = rig.submit(12)
    end(rig, failing(*range(6)))
    rig.service.retry(TENANT, job_id)
    rig.service.cancel(TENANT, job_id)
    rig.plan()
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded, job.counts.cancelled) == (JobStatus.CANCELLED, 6, 6)
    rig.service.retry(TENANT, job_id, cancelled=True)
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_retry_sent_twice_has_one_effect(rig: Rig) -> None:
    job_id = rig.submit(4)
    end(rig, failing(1))
    results = [rig.service.retry(TENANT, job_id, idempotency_key="k") for _ in range(2)]
    assert [new for _, new in results] == [True, False]
    end(rig)
    job, new = rig.service.retry(TENANT, job_id, idempotency_key="k")
    assert (job.status, new) == (JobStatus.SUCCEEDED, False)
    with pytest.raises(KeyReusedError):
        rig.service.retry(TENANT, job_id, cancelled=True, idempotency_key="k")


@pytest.mark.parametrize("by_client_id", [False, True])
def test_retry_sent_again_after_the_job_was_deleted_says_so(rig: Rig, by_client_id: bool) -> None:
    job, _ = rig.service.put(TENANT, "spring", rig.request(4))
    end(rig, failing(1))
    id = "spring" if by_client_id else job.id
    rig.service.retry(TENANT, id, idempotency_key="k")
    end(rig)
    rig.service.delete(TENANT, job.id)
    for _ in range(2):
        with pytest.raises(ResourceDeletedError, match=job.id):
            rig.service.retry(TENANT, id, idempotency_key="k")
        rig.service.put(TENANT, "spring", rig.request(4))  # the client's id is free again
    with pytest.raises(KeyReusedError):
        rig.service.retry(TENANT, id, cancelled=True, idempotency_key="k")
    for key in (None, "other", "other"):
        with pytest.raises(NotFoundError):
            rig.service.retry(TENANT, job.id, idempotency_key=key)


def test_event_from_before_a_retry_has_no_effect(rig: Rig) -> None:
    job_id = rig.submit(4)
    [old] = dispatch(rig)
    rig.report(started(old), finished(old, failing(1)))
    rig.finalizer.tick()
    rig.service.retry(TENANT, job_id)
    rig.report(finished(old))
    assert rig.job(job_id).counts.pending == 1
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_reports_from_before_a_retry_do_not_replace_later_ones(rig: Rig) -> None:
    job_id = rig.submit(4)
    for chunk in dispatch(rig):
        rig.report(started(chunk), finished(chunk, failing(1)))
    before = rig.job(job_id)  # another scheduler starts to write reports here, and is slow
    rig.finalizer.tick()
    rig.service.retry(TENANT, job_id)
    end(rig)
    assert not rig.finalizer._is_current(before)
    with pytest.raises(OutdatedError):
        rig.finalizer._write_reports(before)
    job = rig.job(job_id)
    assert (job.status, len(read_lines(rig, job, "results.jsonl"))) == (JobStatus.SUCCEEDED, 4)


def test_retry_of_many_items_makes_chunks_page_by_page(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_CHUNKED_AT_ONCE", 3)
    job_id = rig.submit(11)
    end(rig, failing(*range(11)))
    rig.service.retry(TENANT, job_id)
    rig.planner.tick()
    rig.service.pause(TENANT, job_id)
    rig.plan()
    rig.service.resume(TENANT, job_id)
    end(rig)
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded, job.unchunked) == (JobStatus.SUCCEEDED, 11, False)


def test_many_items_are_cancelled_and_retried_page_by_page(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "AT_ONCE", 4)
    job_id = rig.submit(11)
    rig.plan()
    rig.service.cancel(TENANT, job_id)
    job = rig.job(job_id)
    assert (job.status, job.counts.cancelled, job.counts.pending) == (JobStatus.CANCELLING, 4, 7)
    rig.plan()
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.CANCELLED
    job, _ = rig.service.retry(TENANT, job_id, cancelled=True)
    assert job.counts.pending == 4
    assert not rig.take_all(), "no item goes to workers before all are open again"
    end(rig)
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded, job.forgiven) == (JobStatus.SUCCEEDED, 11, 0)


def test_a_limit_counts_all_items_of_a_large_retry(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "AT_ONCE", 2)
    job_id = rig.submit(5)
    end(rig, failing(*range(5)))
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_queued_items": 4}))
    with pytest.raises(QuotaExceededError, match="5 images would wait"):
        rig.service.retry(TENANT, job_id)
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_queued_items": 5}))
    rig.service.retry(TENANT, job_id)
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_retry_that_exceeds_a_limit_changes_nothing(rig: Rig) -> None:
    job_id = rig.submit(4)
    end(rig, failing(0, 1, 2))
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_queued_items": 2}))
    with pytest.raises(QuotaExceededError, match="3 images would wait"):
        rig.service.retry(TENANT, job_id)
    job = rig.job(job_id)
    assert (job.status, job.counts.failed, job.counts.pending) == (JobStatus.PARTIALLY_SUCCEEDED, 3, 0)
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_queued_items": 3}))
    rig.service.retry(TENANT, job_id)
    end(rig)
    assert rig.job(job_id).counts.succeeded == 4
