"""The event log of jobs and runs: an event is written in the transaction of its change, and read without gaps."""

import threading

import pytest
from sqlalchemy import select

from nst_core.client.resources.events import EventType
from nst_core.client.resources.jobs import JobInput, JobStatus
from scheduler.domain.events import Event
from scheduler.store import events as event_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Database
from scheduler.store.tables import events
from tests.integration.conftest import TENANT, Rig, finished, progress, started
from tests.integration.runs.kit import RunRig, begun

DAY_S = 86_400.0


def log_of(rig: Rig, subject: str, *, after: int = 0) -> list[Event]:
    with rig.database.read() as connection:
        return event_rows.events_after(connection, [(subject, after)], limit=1000)


def types(rig: Rig, subject: str) -> list[str]:
    return [event.type.value for event in log_of(rig, subject)]


def test_a_job_writes_its_events_in_order(rig: Rig) -> None:
    job_id = rig.submit(6)
    rig.plan()
    rig.dispatcher.tick()
    for chunk in rig.take_all():
        rig.clock.advance(2)
        rig.report(started(chunk), finished(chunk))
    rig.finalizer.tick()
    log = log_of(rig, job_id)
    assert types(rig, job_id) == [
        "job.created",
        "job.started",
        "job.progress",
        "job.finalizing",
        "job.completed",
    ]
    assert log[-1].data["status"] == "succeeded"
    assert log[-1].data["counts"] == vars(rig.job(job_id).counts)
    assert {event.tenant for event in log} == {TENANT}
    assert [event.created_at for event in log] == sorted(event.created_at for event in log)


def test_progress_events_are_at_least_a_second_apart(rig: Rig) -> None:
    job_id = rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    [chunk] = rig.take_all()
    rig.report(started(chunk), progress(chunk, 0), progress(chunk, 1))
    assert EventType.JOB_PROGRESS not in types(rig, job_id)  # the event of its start is from the same second
    rig.clock.advance(1)
    rig.report(progress(chunk, 0), progress(chunk, 2), progress(chunk, 3))
    told = [event for event in log_of(rig, job_id) if event.type is EventType.JOB_PROGRESS]
    assert [event.data["counts"]["succeeded"] for event in told] == [3]


def test_a_repeated_report_writes_no_event(rig: Rig) -> None:
    job_id = rig.submit(2)
    rig.plan()
    rig.dispatcher.tick()
    [chunk] = rig.take_all()
    rig.report(started(chunk), finished(chunk))
    before = types(rig, job_id)
    rig.clock.advance(5)
    rig.report(started(chunk), finished(chunk))
    rig.finalizer.tick()
    rig.finalizer.tick()
    assert types(rig, job_id) == [*before, "job.completed"]


def test_a_cancelled_job_has_events_for_both_steps(rig: Rig) -> None:
    job_id = rig.submit(2)
    rig.service.cancel(TENANT, job_id)
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    assert types(rig, job_id) == ["job.created", "job.cancelling", "job.finalizing", "job.completed"]
    assert log_of(rig, job_id)[-1].data["status"] == "cancelled"


def test_the_event_of_a_failed_job_has_its_error(rig: Rig) -> None:
    job_id = rig.submit(JobInput(prefix=f"s3://nst/{rig.prefix}/nothing/"))
    rig.plan()
    rig.finalizer.tick()
    last = log_of(rig, job_id)[-1]
    assert (last.type, last.data["status"]) == ("job.completed", "failed")
    assert last.data["error"] == {"code": "no_inputs", "message": "The job's input names no photo."}


def test_a_change_that_is_rolled_back_writes_no_event(rig: Rig) -> None:
    job_id = rig.submit(1)

    def break_off() -> None:
        with rig.database.write() as connection:
            job_rows.update_job(connection, job_id, status=JobStatus.CANCELLING)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert types(rig, job_id) == ["job.created"]


def test_a_run_has_events_for_start_checkpoints_and_end(rig: Rig) -> None:
    runs = RunRig(rig)
    run_id = runs.add(steps=20)
    segment = runs.next()
    runs.report(begun(segment), runs.trained(segment, 10))
    rig.service.runs.pause(TENANT, run_id)
    rig.service.runs.resume(TENANT, run_id)
    rig.service.runs.cancel(TENANT, run_id)
    assert types(rig, run_id) == [
        "run.created",
        "run.started",
        "run.checkpoint",
        "run.paused",
        "run.resumed",
        "run.completed",
    ]
    checkpoint, last = log_of(rig, run_id)[2], log_of(rig, run_id)[-1]
    assert (checkpoint.data["step"], checkpoint.data["steps"]) == (10, 20)
    assert (last.data["name"], last.data["status"]) == ("mine", "cancelled")


def test_a_run_that_is_extended_after_its_end_has_an_event(rig: Rig) -> None:
    runs = RunRig(rig)
    run_id = runs.add()
    rig.service.runs.cancel(TENANT, run_id)
    rig.service.runs.resume(TENANT, run_id)
    assert types(rig, run_id) == ["run.created", "run.completed", "run.resumed"]


def test_readers_miss_no_event_of_concurrent_writers(rig: Rig, database_url: str) -> None:
    """Without the row's lock, PostgreSQL shows larger ids before smaller ones."""
    job_id = rig.submit(1)
    writers, count = 4, 25
    stop = threading.Event()

    def write() -> None:
        own = Database(database_url, clock=rig.clock)
        for _ in range(count):
            for status in (JobStatus.CANCELLING, JobStatus.RUNNING):
                with own.write() as connection:
                    job_rows.update_job(connection, job_id, status=status)
        own.close()

    seen: list[int] = []

    def read() -> None:
        while True:
            through = stop.is_set()
            found = log_of(rig, job_id, after=seen[-1] if seen else 0)
            seen.extend(event.id for event in found)
            if through and not found:
                return

    reader = threading.Thread(target=read)
    reader.start()
    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    reader.join()
    with rig.database.read() as connection:
        all_ids = connection.execute(select(events.c.id).where(events.c.subject == job_id)).scalars().all()
    assert seen == sorted(all_ids)
    assert len(seen) > count


def test_events_are_pruned_after_their_lifetime_once_delivered_and_ended(rig: Rig) -> None:
    ended_id, going_id = rig.submit(1), rig.submit(1)
    rig.service.cancel(TENANT, ended_id)
    rig.finalizer.tick()
    rig.clock.advance(8 * DAY_S)

    def prune() -> int:
        with rig.database.write() as connection:
            found = event_rows.old_events(connection, created_before=rig.clock() - 7 * DAY_S, limit=100)
            event_rows.delete_events(connection, found)
        return len(found)

    assert prune() == 0  # not yet turned into webhook messages
    with rig.database.write() as connection:
        event_rows.set_fanned_out(connection, [event.id for event in event_rows.take_unfanned(connection, limit=100)])
    assert prune() == 4
    assert types(rig, ended_id) == []
    assert types(rig, going_id) == ["job.created"]
