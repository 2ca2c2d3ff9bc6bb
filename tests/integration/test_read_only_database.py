"""PostgreSQL answers but refuses to write, as a primary that was demoted or whose disk is full does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from nst_core.client.resources.jobs import JobStatus
from nst_core.errors import ConfigError, NstError
from scheduler.retention.retention import Lifetimes, Retention
from scheduler.store.database import Database, _usable
from scheduler.store.errors import DatabaseFaultError, DatabaseUnavailableError
from tests.integration.conftest import TENANT, Rig, finished, named, run_statement, started
from tests.integration.job_kit import body, dispatch

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

#: What PostgreSQL refuses, and what repairs it.
REFUSALS = {
    "read-only": (
        "ALTER DATABASE emptied SET default_transaction_read_only = on",
        "ALTER DATABASE emptied RESET default_transaction_read_only",
    ),
    "no right": ("REVOKE UPDATE ON chunks FROM clerk", "GRANT UPDATE ON chunks TO clerk"),
    "no table": ("ALTER TABLE chunks RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO chunks"),
    "no column": ("ALTER TABLE chunks RENAME deaths TO lost", "ALTER TABLE chunks RENAME lost TO deaths"),
}


@pytest.fixture
def clerk(database_url: str) -> Iterator[Database]:
    """The database as a user sees it who owns nothing, and has rights to all tables."""
    rights = "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk"
    run_statement(database_url, f"CREATE ROLE clerk LOGIN; {rights}")
    database = Database(database_url.replace("//nst@", "//clerk@"))
    yield database
    database.close()
    run_statement(database_url, "DROP OWNED BY clerk; DROP ROLE clerk")


@contextmanager
def refusing(url: str, database: Database, name: str = "read-only") -> Iterator[Callable[[], None]]:
    """Break a database, and yield what repairs it; the connections that there are stay."""
    spoil, mend = REFUSALS[name]
    place, broken = named(url, "postgres") if "DATABASE" in mend else url, True

    def repair() -> None:
        nonlocal broken
        if broken:
            run_statement(place, mend)
        broken = False

    run_statement(place, spoil)
    database.engine.dispose()  # a failover drops all connections
    try:
        yield repair
    finally:
        repair()


@pytest.mark.parametrize("name", REFUSALS)
def test_what_workers_report_is_kept_while_the_database_refuses_to_write_it(
    rig: Rig, clerk: Database, database_url: str, name: str
) -> None:
    rig.database = clerk
    events = rig.new_event_reader()
    job_id = rig.submit(4)
    [chunk] = dispatch(rig)
    rig.broker.publish(started(chunk))
    assert events.tick(block_ms=1)
    with refusing(database_url, clerk, name) as repair:
        rig.broker.publish(finished(chunk))
        with pytest.raises((DatabaseUnavailableError, DatabaseFaultError)):
            events.tick(block_ms=1)
        assert rig.broker.unread_events()[0] == 1
        repair()
        clerk.engine.dispose()
        rig.clock.advance(2)
        assert events.tick(block_ms=1)
    assert rig.job(job_id).counts.succeeded == 4


def test_a_scheduler_whose_database_is_read_only_lets_another_one_read_the_reports(rig: Rig, database_url: str) -> None:
    rig.events.tick(block_ms=1)
    assert rig.events.leadership.leads
    with refusing(database_url, rig.database):
        rig.clock.advance(2)
        with pytest.raises(DatabaseUnavailableError):
            rig.events.tick(block_ms=1)
        assert not rig.events.leadership.leads


def test_the_api_says_that_it_is_unavailable_while_the_database_is_read_only(
    rig: Rig, database_url: str, client: TestClient
) -> None:
    job_id = rig.submit(1)
    with refusing(database_url, rig.database):
        for answer in (client.post("/v1/jobs", json=body(rig)), client.post(f"/v1/jobs/{job_id}/cancel")):
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"]
        assert client.get(f"/v1/jobs/{job_id}").status_code == 200, "it can still be read"
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "database_unavailable")


def test_control_loops_wait_while_the_database_is_read_only(rig: Rig, database_url: str) -> None:
    rig.submit(1)
    retention = Retention(
        rig.database,
        rig.blobs,
        clock=rig.clock,
        idempotency=rig.idempotency,
        item_times=rig.item_times,
        lifetimes=Lifetimes(),
        timer=rig.clock,
    )
    with refusing(database_url, rig.database):
        for tick in (rig.planner.tick, retention.tick, rig.service.styles.register_shipped):
            with pytest.raises(NstError) as caught:
                tick()
            assert caught.value.retryable, tick


def test_a_migration_without_the_right_to_it_is_no_passing_fault(rig: Rig, clerk: Database) -> None:
    """Only an owner may change a table. In which language the server says so does not matter."""
    change = "ALTER TABLE jobs ADD COLUMN more INTEGER"
    refusal = "must be owner of table jobs"
    with pytest.raises(DatabaseUnavailableError, match=refusal), clerk.write() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(ConfigError, match=refusal), _usable(), clerk.write() as connection:
        connection.exec_driver_sql(change)


@pytest.mark.parametrize("is_told_by", ["a write", "a ping"])
def test_connections_to_a_server_that_became_read_only_are_given_up(
    rig: Rig, database_url: str, is_told_by: str
) -> None:
    """The address may lead to the new primary, while old connections still work: the old one answers a test of them."""
    job_id = rig.submit(1)
    with refusing(database_url, rig.database) as repair:
        with rig.database.read() as first, rig.database.read() as second:  # two connections in the pool
            assert first.scalar(text("SHOW transaction_read_only")) == "on"
            assert second.scalar(text("SHOW transaction_read_only")) == "on"
        repair()
        with pytest.raises(DatabaseUnavailableError):
            rig.database.ping() if is_told_by == "a ping" else rig.service.pause(TENANT, job_id)
        for _ in range(2):
            rig.database.ping()
        assert rig.service.pause(TENANT, job_id).status is JobStatus.PAUSED


@pytest.mark.parametrize("limit", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_a_transaction_that_the_server_ended_for_its_length_says_that_the_database_is_unavailable(
    rig: Rig, limit: str
) -> None:
    def take_too_long() -> None:
        with rig.database.write() as connection:
            if connection.scalar(text(f"SELECT count(*) FROM pg_settings WHERE name = '{limit}'")) == 0:
                pytest.skip("this PostgreSQL has no such limit")
            connection.execute(text(f"SET LOCAL {limit} = 50"))
            with rig.database.read() as other:
                other.execute(text("SELECT pg_sleep(0.5)"))
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailableError):
        take_too_long()
    rig.database.ping()
