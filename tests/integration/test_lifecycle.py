"""The life of a job: stopped by a deadline or by failures, paused, resumed, retried, deleted."""

import json

import pytest

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobInput, JobStatus, StopReason
from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import ItemOutcome
from nst_core.storage.blobs import BlobUri
from scheduler.access.idempotency import KEPT_S
from scheduler.domain.addresses import scratch_key
from scheduler.domain.errors import ConflictError, NotFoundError, RequestInvalidError, ResourceDeletedError
from scheduler.jobs.expiry import Expirer
from scheduler.retention.retention import Lifetimes, Retention
from scheduler.store.jobs import JobFilter, find_job
from tests.integration.conftest import LEASE_S, TENANT, Rig, finished, outcome, read_lines, started
from tests.integration.job_kit import dispatch, end, failing

_DAY_S = 24 * 3600.0


def expire(rig: Rig) -> bool:
    return Expirer(rig.database, clock=rig.clock).tick()


def test_job_expires_at_its_deadline_and_keeps_what_is_finished(rig: Rig) -> None:
    job_id = rig.submit(40, expires_after_s=60.0)
    first, second, *others = dispatch(rig)
    rig.report(started(first), finished(first), started(second))
    rig.clock.advance(59)
    assert not expire(rig)
    rig.clock.advance(1)
    assert expire(rig)
    job = rig.job(job_id)
    assert (job.status, job.stop) == (JobStatus.CANCELLING, StopReason.DEADLINE)
    assert (job.counts.succeeded, job.counts.running, job.counts.pending, job.counts.cancelled) == (4, 4, 8, 24)
    rig.withdrawer.tick()
    assert rig.broker.is_cancelled(job_id)
    assert not expire(rig), "once is enough"
    rig.report(finished(second), *(finished(chunk, lambda index: None) for chunk in others))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded) == (JobStatus.EXPIRED, 8)
    assert len(read_lines(rig, job, "results.jsonl")) == 8


@pytest.mark.parametrize("pause", [False, True])
def test_job_that_no_worker_has_started_expires_at_once(rig: Rig, pause: bool) -> None:
    job_id = rig.submit(4, deadline=rig.clock() + 10)
    if pause:
        rig.service.pause(TENANT, job_id)
    rig.clock.advance(10)
    expire(rig)
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.EXPIRED


def test_deadline_that_has_passed_is_refused(rig: Rig) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        rig.submit(1, deadline=rig.clock() - 1)
    assert caught.value.pointer == "/deadline"


def test_too_many_failures_end_the_job(rig: Rig) -> None:
    job_id = rig.submit(40, max_failures=2)
    first, second, *others = dispatch(rig)
    rig.report(started(first), started(second), finished(first, failing(0, 1)))
    assert rig.job(job_id).status is JobStatus.RUNNING, "as many as are allowed"
    rig.report(finished(second, failing(4)), *(finished(chunk, lambda index: None) for chunk in others))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.stop, job.error_code) == (JobStatus.FAILED, StopReason.MAX_FAILURES, "max_failures")
    assert (job.counts.succeeded, job.counts.failed, job.counts.cancelled) == (5, 3, 32)
    assert len(read_lines(rig, job, "results.jsonl")) == 5


def test_the_first_failure_ends_a_job_that_allows_none(rig: Rig) -> None:
    job_id = rig.submit(8, max_failures=0)
    first, second = dispatch(rig)
    rig.report(started(first), started(second), finished(first, failing(0)), finished(second, lambda index: None))
    rig.finalizer.tick()
    assert (rig.job(job_id).status, rig.job(job_id).stop) == (JobStatus.FAILED, StopReason.MAX_FAILURES)


def test_failures_in_planning_count_too(rig: Rig) -> None:
    manifest = BlobUri("nst", f"{rig.prefix}/m.jsonl")
    rig.blobs.put(manifest, b"no json\n" * 3 + json.dumps({"input": "s3://nst/a.jpg"}).encode())
    job_id = rig.submit(JobInput(manifest=str(manifest)), max_failures=2)
    rig.plan()
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code, job.counts.cancelled) == (JobStatus.FAILED, "max_failures", 1)


def test_paused_job_finishes_its_running_chunks_and_continues_when_resumed(rig: Rig) -> None:
    job_id = rig.submit(40)
    chunks = dispatch(rig)
    for _ in range(2):
        assert rig.service.pause(TENANT, job_id).status is JobStatus.PAUSED
    for chunk in chunks:
        rig.report(started(chunk), finished(chunk))
    assert dispatch(rig) == []
    job = rig.job(job_id)
    assert (job.status, job.counts.succeeded, job.counts.pending) == (JobStatus.PAUSED, 16, 24)
    for _ in range(2):
        assert rig.service.resume(TENANT, job_id).status is JobStatus.RUNNING
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_job_paused_during_planning_continues_planning_when_resumed(rig: Rig) -> None:
    job_id = rig.submit(40)
    rig.planner.tick()
    rig.service.pause(TENANT, job_id)
    rig.plan()
    assert 0 < rig.job(job_id).counts.total < 40
    assert rig.service.resume(TENANT, job_id).status is JobStatus.PLANNING
    end(rig)
    assert rig.job(job_id).counts.succeeded == 40


def test_paused_job_ends_when_its_last_images_end(rig: Rig) -> None:
    job_id = rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk))
    rig.service.pause(TENANT, job_id)
    rig.report(finished(chunk))
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED
    for change in (rig.service.pause, rig.service.resume):
        with pytest.raises(ConflictError):
            change(TENANT, job_id)


def test_paused_job_can_be_cancelled(rig: Rig) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.service.pause(TENANT, job_id)
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.CANCELLED


def test_pause_between_listing_and_claim_takes_effect(rig: Rig) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.service.pause(TENANT, job_id)
    assert rig.dispatcher._claim(job_id) is None


def dispatch_now(rig: Rig) -> list[StylizeChunk]:
    rig.dispatcher.tick()
    return rig.take_all()


def test_max_attempts_of_a_job_overrides_the_setting(rig: Rig) -> None:
    job_id = rig.submit(1, max_attempts=1)
    [chunk] = dispatch(rig)
    passing = ItemOutcome(index=0, ms=1, error_code="blob_unavailable", error_message="No.", retryable=True)
    rig.report(started(chunk), finished(chunk, lambda index: passing))
    assert rig.job(job_id).counts.failed == 1


def test_one_poison_image_costs_few_workers_and_no_other_image(rig: Rig) -> None:
    rig.planner._item_times._first_guess = 100
    rig.planner._page = 100
    job_id = rig.submit(100)
    poison, deaths = 37, 0
    while chunks := dispatch(rig):
        for chunk in chunks:
            rig.report(started(chunk))
            if any(item.index == poison for item in chunk.items):
                deaths += 1
                rig.clock.advance(LEASE_S + 1)
                assert rig.reaper.tick()
            else:
                rig.report(finished(chunk))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.counts.succeeded, job.counts.failed) == (99, 1)
    [item] = rig.service.items(TENANT, job_id, limit=9, after=-1, status=ItemStatus.FAILED)
    assert (item.index, item.error_code) == (poison, "worker_lost")
    assert deaths <= rig.max_attempts + 6 + rig.max_attempts, "halved seven times, and tried alone"


def test_an_image_alone_in_its_chunk_is_not_blamed_for_earlier_deaths(rig: Rig) -> None:
    job_id = rig.submit(2)
    for _ in range(rig.max_attempts + rig.max_attempts - 1):
        for chunk in dispatch(rig):
            rig.report(started(chunk))
        rig.clock.advance(LEASE_S + 1)
        assert rig.reaper.tick()
    for _ in range(2):
        [chunk] = dispatch(rig)  # last attempts run one after the other
        assert len(chunk.items) == 1
        rig.report(started(chunk), finished(chunk))
    assert rig.job(job_id).counts.succeeded == 2


def test_half_of_a_split_chunk_still_survives_passing_faults(rig: Rig) -> None:
    job_id = rig.submit(4)
    for _ in range(rig.max_attempts):
        [chunk] = dispatch(rig)
        rig.report(started(chunk))
        rig.clock.advance(LEASE_S + 1)
        rig.reaper.tick()
    [half] = dispatch(rig)
    passing = ItemOutcome(index=0, ms=1, error_code="blob_unavailable", error_message="No.", retryable=True)
    rig.report(started(half), finished(half, lambda index: passing if index == 0 else outcome(index)))
    assert rig.job(job_id).counts.failed == 0
    [other] = dispatch(rig)
    assert [len(half.items), len(other.items)] == [2, 2]
    rig.clock.advance(3)
    rig.report(started(other), finished(other))
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def sizes(rig: Rig, photos: int) -> list[int]:
    rig.submit(photos)
    return [len(chunk.items) for chunk in dispatch(rig)]


def retention(rig: Rig, days: float | None = 1.0) -> Retention:
    return Retention(
        rig.database,
        rig.blobs,
        clock=rig.clock,
        lifetimes=Lifetimes(jobs=days),
        idempotency=rig.idempotency,
        item_times=rig.item_times,
    )


def test_old_job_is_deleted_and_its_results_are_kept(rig: Rig) -> None:
    rig.clock.advance(0.01)
    old = rig.service.submit(TENANT, rig.request(8, metadata={"a": "b"}), idempotency_key="k")[0]
    going = rig.submit(4)
    rig.service.pause(TENANT, going)
    scratch = BlobUri("nst", scratch_key(TENANT, old.id) + "previews/0.jpg")
    rig.blobs.put(scratch, b"x")
    rig.run_to_end()
    while retention(rig).tick():
        pass
    assert rig.job(old.id).status is JobStatus.SUCCEEDED
    rig.clock.advance(_DAY_S + 1)
    assert not retention(rig, None).tick()
    assert retention(rig).tick()
    with pytest.raises(NotFoundError):
        rig.job(old.id)
    assert not rig.blobs.exists(scratch)
    assert rig.blobs.exists(BlobUri.parse(old.spec.output.prefix + "results.jsonl"))
    assert [job.id for job in rig.service.jobs(TENANT, limit=9, after_id=None)] == [going]
    assert rig.service.jobs(TENANT, limit=9, after_id=None, only=JobFilter(labels={"a": "b"})) == []
    with pytest.raises(ResourceDeletedError):
        rig.service.submit(TENANT, rig.request(8, metadata={"a": "b"}), idempotency_key="k")


def test_half_deleted_job_is_hidden_and_deleted_later(rig: Rig) -> None:
    job_id = rig.submit(8)
    rig.run_to_end()
    rig.clock.advance(3 * _DAY_S)
    loop = retention(rig)

    def die(prefix: object, **options: object) -> bool:
        raise SystemExit("killed")

    loop._removers[0]._sweep = die  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        loop.tick()
    with pytest.raises(NotFoundError):
        rig.service.job(TENANT, job_id)
    assert retention(rig).tick()
    with rig.database.read() as connection:
        assert find_job(connection, job_id) is None


def test_idempotency_keys_are_forgotten_after_two_days(rig: Rig) -> None:
    first, _ = rig.service.submit(TENANT, rig.request(1), idempotency_key="k")
    rig.clock.advance(KEPT_S - 1)
    assert not retention(rig, None).tick()
    assert not rig.service.submit(TENANT, rig.request(1), idempotency_key="k")[1]
    rig.clock.advance(2)
    assert retention(rig, None).tick()
    second, new = rig.service.submit(TENANT, rig.request(2), idempotency_key="k")
    assert new
    assert second.id != first.id
