"""The turns of a job's life: stopped by a deadline or by failures, paused, resumed, retried, deleted."""

import json
from collections.abc import Callable

import pytest

from nst_core.blobs import BlobUri
from nst_core.protocol import ItemOutcome, ItemStatus, StylizeChunk
from scheduler import plan
from scheduler.domain import JobInput, JobStatus, Priority, StopReason, scratch_key
from scheduler.errors import ConflictError, KeyReusedError, NotFoundError, NothingToRetryError, RequestInvalidError
from scheduler.expiry import Expirer
from scheduler.idempotency import KEPT_S
from scheduler.retention import Retention
from scheduler.store import rates as rate_rows
from scheduler.store.jobs import JobFilter, find_job
from tests.integration.conftest import LEASE_S, TENANT, Rig, finished, outcome, progress, read_lines, started

_DAY_S = 24 * 3600.0


def dispatch(rig: Rig) -> list[StylizeChunk]:
    rig.plan()
    rig.dispatcher.tick()
    return rig.take_all()


def failing(*indexes: int, code: str = "image_undecodable") -> Callable[[int], ItemOutcome]:
    def make(index: int) -> ItemOutcome:
        if index not in indexes:
            return outcome(index)
        return ItemOutcome(index=index, ms=1, error_code=code, error_message="No.")

    return make


def end(rig: Rig, make: Callable[[int], ItemOutcome | None] = outcome) -> None:
    """Let workers do all there is to do, each item as `make` says."""
    while chunks := dispatch(rig):
        for chunk in chunks:
            rig.report(started(chunk), finished(chunk, make))
    rig.finalizer.tick()


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
def test_job_that_nobody_has_begun_expires_at_once(rig: Rig, pause: bool) -> None:
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


def test_failures_at_planning_count_too(rig: Rig) -> None:
    manifest = BlobUri("nst", f"{rig.prefix}/m.jsonl")
    rig.blobs.put(manifest, b"no json\n" * 3 + json.dumps({"input": "s3://nst/a.jpg"}).encode())
    job_id = rig.submit(JobInput(manifest=str(manifest)), max_failures=2)
    rig.plan()
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code, job.counts.cancelled) == (JobStatus.FAILED, "max_failures", 1)


def test_paused_job_ends_what_is_in_hand_and_goes_on_when_resumed(rig: Rig) -> None:
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


def test_job_paused_while_it_is_planned_is_planned_on_when_resumed(rig: Rig) -> None:
    job_id = rig.submit(40)
    rig.planner.tick()
    rig.service.pause(TENANT, job_id)
    rig.plan()
    assert 0 < rig.job(job_id).counts.total < 40
    assert rig.service.resume(TENANT, job_id).status is JobStatus.PLANNING
    end(rig)
    assert rig.job(job_id).counts.succeeded == 40


def test_paused_job_whose_last_images_end_has_ended(rig: Rig) -> None:
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


def test_paused_job_is_cancelled(rig: Rig) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.service.pause(TENANT, job_id)
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.CANCELLED


def test_pause_between_listing_and_claim_holds(rig: Rig) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.service.pause(TENANT, job_id)
    assert rig.dispatcher._claim(job_id) is None


def test_retry_does_failed_items_anew_and_writes_reports_anew(rig: Rig) -> None:
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


def test_retry_of_a_code_leaves_the_other_failures(rig: Rig) -> None:
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


def test_cancelled_job_goes_on_with_its_cancelled_items_and_the_rest_of_its_input(rig: Rig) -> None:
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


def dispatch_now(rig: Rig) -> list[StylizeChunk]:
    rig.dispatcher.tick()
    return rig.take_all()


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


def test_retried_job_may_fail_as_often_as_before(rig: Rig) -> None:
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


def test_retry_that_is_stopped_again_loses_no_count(rig: Rig) -> None:
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


def test_retry_that_is_sent_twice_is_one(rig: Rig) -> None:
    job_id = rig.submit(4)
    end(rig, failing(1))
    results = [rig.service.retry(TENANT, job_id, idempotency_key="k") for _ in range(2)]
    assert [new for _, new in results] == [True, False]
    end(rig)
    job, new = rig.service.retry(TENANT, job_id, idempotency_key="k")
    assert (job.status, new) == (JobStatus.SUCCEEDED, False)
    with pytest.raises(KeyReusedError):
        rig.service.retry(TENANT, job_id, cancelled=True, idempotency_key="k")


def test_outdated_event_of_before_a_retry_has_no_effect(rig: Rig) -> None:
    job_id = rig.submit(4)
    [old] = dispatch(rig)
    rig.report(started(old), finished(old, failing(1)))
    rig.finalizer.tick()
    rig.service.retry(TENANT, job_id)
    rig.report(finished(old))
    assert rig.job(job_id).counts.pending == 1
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_reports_of_before_a_retry_do_not_replace_those_of_after_it(rig: Rig) -> None:
    job_id = rig.submit(4)
    for chunk in dispatch(rig):
        rig.report(started(chunk), finished(chunk, failing(1)))
    before = rig.job(job_id)  # another scheduler begins to write reports here, and is slow
    rig.finalizer.tick()
    rig.service.retry(TENANT, job_id)
    end(rig)
    assert not rig.finalizer._is_current(before)
    rig.finalizer._try_to_finalize(before)
    job = rig.job(job_id)
    assert (job.status, len(read_lines(rig, job, "results.jsonl"))) == (JobStatus.SUCCEEDED, 4)


def test_retry_of_many_items_is_put_into_chunks_page_by_page(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_max_attempts_of_a_job_goes_over_the_setting(rig: Rig) -> None:
    job_id = rig.submit(1, max_attempts=1)
    [chunk] = dispatch(rig)
    passing = ItemOutcome(index=0, ms=1, error_code="blob_unavailable", error_message="No.", retryable=True)
    rig.report(started(chunk), finished(chunk, lambda index: passing))
    assert rig.job(job_id).counts.failed == 1


def test_one_poison_among_many_costs_few_workers_and_no_innocent(rig: Rig) -> None:
    rig.planner._rates._first_guess = 100
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


def test_an_image_that_is_left_alone_is_not_blamed_for_deaths_before(rig: Rig) -> None:
    job_id = rig.submit(2)
    for _ in range(rig.max_attempts + rig.max_attempts - 1):
        for chunk in dispatch(rig):
            rig.report(started(chunk))
        rig.clock.advance(LEASE_S + 1)
        assert rig.reaper.tick()
    for _ in range(2):
        [chunk] = dispatch(rig)  # last tries go one after the other
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


def test_jobs_of_higher_priority_come_first_within_a_tenant(rig: Rig) -> None:
    low = rig.submit(8, priority=Priority.LOW)
    normal = rig.submit(8)
    high = rig.submit(8, priority=Priority.HIGH)
    assert [chunk.job_id for chunk in dispatch(rig)] == [high, high, normal, normal]
    assert rig.job(low).counts.pending == 8


def test_tenants_share_the_window_by_their_weights(rig: Rig) -> None:
    rig.dispatcher._weights = lambda: {"heavy": 3.0}
    mine = [rig.submit(40, priority=Priority.HIGH) for _ in range(3)]
    rig.clock.advance(0.01)
    theirs = rig.service.submit("heavy", rig.request(40))[0].id
    sent = [chunk.job_id for chunk in dispatch(rig)]
    assert sent.count(theirs) == 3
    assert sum(sent.count(job_id) for job_id in mine) == 1, "many jobs of high priority take nothing from others"


def measured(rig: Rig, ms: float, *, workers: int = 0) -> None:
    """Note that items of the wave take so long, and that there are workers."""
    with rig.database.write() as connection:
        request = rig.request(1)
        rate_rows.add_times(
            connection, request.method, "wave" * 4, 0, count=10, total_ms=round(10 * ms), now=rig.clock()
        )
        for number in range(workers):
            rate_rows.see_worker(connection, f"w{number}", now=rig.clock())


def sizes(rig: Rig, photos: int) -> list[int]:
    rig.submit(photos)
    return [len(chunk.items) for chunk in dispatch(rig)]


def test_chunks_of_fast_items_grow_and_those_of_slow_ones_shrink(rig: Rig) -> None:
    measured(rig, 30_000)
    first = rig.submit(6)
    assert [len(chunk.items) for chunk in dispatch(rig)] == [2, 2, 2]
    rig.service.cancel(TENANT, first)
    with rig.database.write() as connection:
        rate_rows.forget(connection, workers_before=0, rates_before=rig.clock() + 1)
    measured(rig, 100)
    assert sizes(rig, 30) == [30]


def test_small_job_is_split_among_the_workers(rig: Rig) -> None:
    measured(rig, 100, workers=2)
    assert sizes(rig, 12) == [3, 3, 3, 3]


def test_times_and_workers_are_noted_as_items_are_done(rig: Rig) -> None:
    rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk), progress(chunk, 0, 1), finished(chunk))
    rig.report(finished(chunk))
    with rig.database.read() as connection:
        version = chunk.style.version
        assert rate_rows.find_means_ms(connection, chunk.method, [version, "x"], 0) == {version: 5.0}
        assert rate_rows.count_workers(connection, since=rig.clock() - 60) == 1


def retention(rig: Rig, days: float | None = 1.0) -> Retention:
    return Retention(rig.database, rig.blobs, clock=rig.clock, retention_days=days)


def test_old_job_is_deleted_and_its_results_stay(rig: Rig) -> None:
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
    again, new = rig.service.submit(TENANT, rig.request(8), idempotency_key="k")
    assert new
    assert again.id != old.id


def test_half_deleted_job_is_hidden_and_deleted_later(rig: Rig) -> None:
    job_id = rig.submit(8)
    rig.run_to_end()
    rig.clock.advance(3 * _DAY_S)
    loop = retention(rig)

    def die(job: object) -> None:
        raise RuntimeError("killed")

    loop._remove_scratch = die  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
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


def test_a_tenant_with_nothing_in_hand_has_its_turn_before_what_waits_in_the_queue(rig: Rig) -> None:
    mine = rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    first = rig.take()
    assert first is not None
    rig.report(started(first))
    theirs = rig.service.submit("other", rig.request(8))[0].id
    rig.plan()
    rig.dispatcher.tick()
    assert [chunk.job_id for chunk in rig.take_all()] == [theirs, theirs, mine, mine, mine]


def test_a_job_with_nothing_in_hand_goes_before_others_of_its_only_tenant(rig: Rig) -> None:
    long = rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    first = rig.take()
    assert first is not None
    rig.report(started(first))
    short = rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    assert [chunk.job_id for chunk in rig.take_all()] == [short, long, long, long]


def test_no_more_chunks_wait_in_the_queue_than_there_are_workers(rig: Rig) -> None:
    rig.crew = 2
    rig.dispatcher = rig.new_dispatcher()
    rig.submit(40)
    assert len(dispatch(rig)) == 2


def test_a_full_queue_keeps_no_tenant_waiting_that_has_less_in_hand(rig: Rig) -> None:
    mine = rig.submit(40)
    rig.plan()
    assert rig.dispatcher.tick()
    assert not rig.dispatcher.tick(), "four chunks are waiting"
    theirs = rig.service.submit("other", rig.request(40))[0].id
    rig.plan()
    assert rig.dispatcher.tick()
    assert not rig.dispatcher.tick(), "nor has the other one more than there are"
    sent = [chunk.job_id for chunk in rig.take_all()]
    assert sent == [mine, *[theirs] * 4, *[mine] * 3], "the first one of all was alone"
