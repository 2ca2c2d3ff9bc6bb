"""Tests of scheduler.jobs.expiry."""

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus, StopReason
from scheduler.jobs.expiry import Expirer
from scheduler.store.database import Database
from tests.unit.scheduler.kit import ManualClock, add_job, items_of, job_of


def test_a_job_is_stopped_at_its_deadline(database: Database, clock: ManualClock) -> None:
    job_id = add_job(database, deadline=clock.now + 10)
    expirer = Expirer(database, clock=clock)
    assert not expirer.tick()
    clock.advance(10)
    assert expirer.tick()
    job = job_of(database, job_id)
    assert (job.status, job.stop) == (JobStatus.FINALIZING, StopReason.DEADLINE)
    assert {item.status for item in items_of(database)} == {ItemStatus.CANCELLED}
    assert not expirer.tick()


def test_a_job_without_a_deadline_does_not_expire(database: Database, clock: ManualClock) -> None:
    add_job(database)
    clock.advance(1e9)
    assert not Expirer(database, clock=clock).tick()
