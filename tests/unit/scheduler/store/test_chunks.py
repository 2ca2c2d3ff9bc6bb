"""Tests of scheduler.store.chunks."""

from scheduler.domain.jobs import ChunkStatus
from scheduler.store import chunks as rows
from scheduler.store.database import Database
from tests.unit.scheduler.kit import ManualClock, add_job, chunk_of, send_all


def test_the_current_attempt_is_locked_with_its_job(database: Database, clock: ManualClock) -> None:
    add_job(database)
    (chunk,) = send_all(database, now=clock.now)
    with database.write() as connection:
        locked = rows.lock_attempt(connection, chunk.id, chunk.attempt)
        assert locked is not None
        assert (locked[0].id, locked[1]) == ("job_1", chunk)
        assert rows.lock_attempt(connection, chunk.id, chunk.attempt + 1) is None
        assert rows.lock_attempt(connection, 999, 1) is None
        rows.set_done(connection, chunk.id)
        assert rows.lock_attempt(connection, chunk.id, chunk.attempt) is None


def test_a_chunk_is_claimed_once(database: Database, clock: ManualClock) -> None:
    add_job(database)
    with database.write() as connection:
        chunk = rows.next_chunk(connection, "job_1", now=clock.now)
        assert chunk is not None
        claims = [rows.claim(connection, chunk, now=clock.now, lease_s=60) for _ in range(2)]
    assert claims == [1, None]


def test_halves_share_the_items_and_inherit_the_deaths(database: Database, clock: ManualClock) -> None:
    add_job(database, items=3, per_chunk=3)
    (chunk,) = send_all(database, now=clock.now)
    with database.write() as connection:
        rows.halve(connection, chunk, [0, 1, 2], deaths=2)
    halves = [chunk_of(database, chunk.id + number) for number in (1, 2)]
    assert chunk_of(database, chunk.id).status is ChunkStatus.DONE
    assert [half.deaths for half in halves] == [2, 0], "a single item has all attempts anew"


def test_chunks_with_an_ended_lease_are_overdue(database: Database, clock: ManualClock) -> None:
    add_job(database, items=4, per_chunk=2)
    first, second = send_all(database, now=clock.now, lease_s=60)
    with database.read() as connection:
        assert rows.overdue(connection, now=clock.now + 60) == []
        assert rows.overdue(connection, now=clock.now + 61) == [first, second]
        assert rows.overdue(connection, now=clock.now + 61, without=[first.id]) == [second]
