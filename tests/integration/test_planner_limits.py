"""No tenant and no storage can stop planning: limits, turns, and whose fault a refusal is."""

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from nst_core.client.resources.jobs import JobInput, JobStatus
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.jobs.inputs import MOST_LISTINGS
from scheduler.jobs.item_times import ItemTimes
from scheduler.jobs.planner import Planner
from tests.integration.conftest import TENANT, Rig, finished, read_lines, started
from tests.integration.job_kit import dispatch, end
from tests.integration.test_planner_inputs import items, manifest, put
from tests.playing_s3 import PlayingServer, playing


@pytest.fixture(scope="module")
def played() -> Iterator[PlayingServer]:
    with playing() as played:
        yield played


@pytest.fixture
def server(played: PlayingServer) -> PlayingServer:
    played.reset()
    return played


def planner(rig: Rig, blobs: BlobStore) -> Planner:
    """Return a second planner, as another scheduler would run."""
    return Planner(
        rig.database,
        blobs,
        timer=rig.clock,
        item_times=ItemTimes(clock=rig.clock, first_guess=rig.chunk_size),
        page=rig.page,
        tenants=rig.service.tenants,
    )


def test_prefix_full_of_other_objects_is_listed_in_pieces_by_any_scheduler(rig: Rig, server: PlayingServer) -> None:
    server.put(*(f"in/{number:06d}.txt" for number in range(30_000)), "in/z.jpg")
    job_id = rig.submit(JobInput(prefix="s3://nst/in/"))
    ticks = 0
    while rig.job(job_id).status in (JobStatus.QUEUED, JobStatus.PLANNING):
        before = server.count("GET")
        assert planner(rig, server.store()).tick(), "each tick is one of a scheduler that has just begun"
        assert server.count("GET") - before <= MOST_LISTINGS
        ticks += 1
    assert ticks > 2
    assert [item.input for item in items(rig, job_id)] == ["s3://nst/in/z.jpg"]
    assert server.count("GET") < 60, "no key is listed again and again"


def test_long_listing_stops_when_its_job_is_cancelled(rig: Rig, server: PlayingServer) -> None:
    server.put(*(f"in/{number:06d}.txt" for number in range(30_000)))
    job_id = rig.submit(JobInput(prefix="s3://nst/in/"))
    planning = planner(rig, server.store())
    assert planning.tick()
    rig.service.cancel(TENANT, job_id)
    assert not planning.tick()


def test_tenants_take_turns_in_planning(rig: Rig) -> None:
    bob = rig.add_tenant("bob")
    alice = [rig.submit(50) for _ in range(5)]
    other = rig.service.submit(bob, rig.request(30))[0].id
    for _ in range(8):
        rig.planner.tick()
    assert rig.service.job(bob, other).planned
    assert not any(rig.job(job_id).planned for job_id in alice)


def test_scheduler_with_wrong_credentials_fails_no_job(rig: Rig, s3_server: StorageSettings) -> None:
    prefix = put(rig, "in/a.jpg")
    job_id = rig.submit(JobInput(prefix=prefix + "in/"))
    wrong = s3_server.model_copy(update={"s3_secret_key": SecretStr("0" * 32)})
    planning = planner(rig, BlobStore(wrong))
    for _ in range(5):
        planning.tick()
        rig.clock.advance(120)
    assert rig.job(job_id).status is JobStatus.QUEUED
    assert len(items(rig, job_id)) == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestTimeTooSkewed", "InvalidAccessKeyId"])
def test_refusal_of_the_scheduler_itself_fails_no_job(rig: Rig, server: PlayingServer, code: str) -> None:
    server.put("in/a.jpg")
    job_id = rig.submit(JobInput(prefix="s3://nst/in/"))
    server.quirks.refuse = lambda call: (403, code)
    planning = planner(rig, server.store())
    planning.tick()
    assert rig.job(job_id).status is JobStatus.QUEUED
    server.quirks.refuse = lambda call: None
    rig.clock.advance(120)
    planning.tick()
    assert rig.job(job_id).counts.total == 1


def test_scheduler_that_cannot_read_its_own_bucket_fails_no_job(rig: Rig, server: PlayingServer) -> None:
    job_id = rig.submit(JobInput(prefix="s3://nst/in/"))
    server.quirks.refuse = lambda call: (403, "AccessDenied")
    planner(rig, server.store()).tick()
    assert rig.job(job_id).status is JobStatus.QUEUED


def test_job_whose_input_is_denied_fails_and_a_retry_reads_the_rest(rig: Rig, server: PlayingServer) -> None:
    server.put(*(f"in/{number:03d}.jpg" for number in range(35)))
    job_id = rig.submit(JobInput(prefix="s3://nst/in/"))
    planning = planner(rig, server.store())
    planning.tick()
    planned = rig.job(job_id).counts.total
    assert 0 < planned < 35
    server.quirks.refuse = lambda call: (403, "AccessDenied") if "list-type" in call.query else None
    planning.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code, job.planned) == (JobStatus.RUNNING, "blob_access_denied", True)
    end(rig)
    assert rig.job(job_id).status is JobStatus.PARTIALLY_SUCCEEDED
    server.quirks.refuse = lambda call: None
    rig.service.retry(TENANT, job_id)
    rig.planner = planning
    end(rig)
    job = rig.job(job_id)
    assert (job.status, job.error_code, job.counts.succeeded) == (JobStatus.SUCCEEDED, None, 35)


def test_job_that_failed_before_its_first_photo_can_be_retried(rig: Rig) -> None:
    source = JobInput(manifest=f"s3://nst/{rig.prefix}/manifest.jsonl")
    job_id = rig.submit(source)
    rig.plan()
    rig.finalizer.tick()
    assert rig.job(job_id).error_code == "blob_not_found"
    manifest(rig, {"input": f"s3://nst/{rig.prefix}/a.jpg"})
    rig.service.retry(TENANT, job_id)
    end(rig)
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


def test_results_in_the_folder_of_the_photos_are_not_input_of_this_or_a_later_job(rig: Rig) -> None:
    prefix = put(rig, "a.jpg", "b.jpg", "sub/c.jpg", "a__wave.txt", "notes__wave.jpg")
    photos = [prefix + name for name in ("a.jpg", "b.jpg", "notes__wave.jpg", "sub/c.jpg")]
    for _ in range(3):
        job_id = rig.submit(JobInput(prefix=prefix), output_prefix=prefix)
        while chunks := dispatch(rig):
            for chunk in chunks:
                for item in chunk.items:
                    rig.blobs.put(BlobUri.parse(item.output), b"result")
                rig.report(started(chunk), finished(chunk))
        rig.finalizer.tick()
        assert [item.input for item in items(rig, job_id)] == photos
        assert rig.job(job_id).status is JobStatus.SUCCEEDED
        assert len(read_lines(rig, rig.job(job_id), "results.jsonl")) == 4


def test_results_above_the_photos_folder_are_recognised_by_their_keys(rig: Rig) -> None:
    prefix = put(rig, "album/a.jpg")
    for _ in range(2):
        job_id = rig.submit(
            JobInput(prefix=prefix + "album/"), output_prefix=prefix, output_name="album/{stem}_x.{ext}"
        )
        for chunk in dispatch(rig):
            for item in chunk.items:
                rig.blobs.put(BlobUri.parse(item.output), b"result")
            rig.report(started(chunk), finished(chunk))
        assert [item.input for item in items(rig, job_id)] == [prefix + "album/a.jpg"]


def test_results_of_one_job_can_be_the_input_of_a_job_that_writes_elsewhere(rig: Rig) -> None:
    prefix = put(rig, "in/a.jpg")
    first = rig.submit(JobInput(prefix=prefix + "in/"), output_prefix=prefix + "out/")
    for chunk in dispatch(rig):
        for item in chunk.items:
            rig.blobs.put(BlobUri.parse(item.output), b"result")
        rig.report(started(chunk), finished(chunk))
    assert len(items(rig, first)) == 1
    second = rig.submit(JobInput(prefix=prefix + "out/"), output_prefix=prefix + "again/")
    assert [item.input for item in items(rig, second)] == [prefix + "out/a__wave.jpg"]


def test_names_from_phones_and_browsers_are_photos_and_others_are_counted(rig: Rig) -> None:
    prefix = put(rig, "a.jfif", "b.JPE", "c.JIF", "noext", "film.mov")
    job_id = rig.submit(JobInput(prefix=prefix), output_prefix=prefix + "out/")
    found = items(rig, job_id)
    assert [item.output.rpartition("/")[2] for item in found] == ["a__wave.jpg", "b__wave.jpg", "c__wave.jpg"]
    assert '"skipped": 2' in rig.job(job_id).planned_key


def test_names_that_collide_get_an_error_that_says_how_to_make_them_unique(rig: Rig) -> None:
    prefix = put(rig, "in/a.JPEG", "in/a.jpeg", "in/a.jpg")
    found = items(rig, rig.submit(JobInput(prefix=prefix + "in/")))
    assert [item.error_code for item in found] == [None, "output_name_taken", "output_name_taken"]
    assert "{index}" in str(found[1].error_message)
    again = items(rig, rig.submit(JobInput(prefix=prefix + "in/"), output_name="{stem}-{index}__{style}.{ext}"))
    assert [item.error_code for item in again] == [None] * 3


def test_a_slow_listing_does_not_stop_the_turns_of_other_jobs(rig: Rig, server: PlayingServer) -> None:
    """A page ends after some seconds on the planner's clock, even if it may still do more listings."""
    server.put(*(f"in/{number:06d}.txt" for number in range(9000)))
    rig.submit(JobInput(prefix="s3://nst/in/"))
    store = server.store()
    slow = Planner(
        rig.database,
        store,
        timer=iter(float(each) for each in range(10**6)).__next__,
        item_times=ItemTimes(clock=time.time),
        page=10,
        tenants=rig.service.tenants,
    )
    slow.tick()
    assert server.count("GET") <= 3
