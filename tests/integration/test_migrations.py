"""Migrations of databases that have rows."""

import json
from hashlib import sha256
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

import scheduler.store
from scheduler.access.keys import Keys, new_api_key
from scheduler.domain.scopes import Scope
from scheduler.store.database import Database, _without_foreign_keys


def move(database: Database, revision: str) -> None:
    """Bring the schema to a revision, up or down."""
    config = Config()
    config.set_main_option("script_location", str(Path(scheduler.store.__file__).parent / "migrations"))
    with database._writers.connect() as connection, _without_foreign_keys(connection), connection.begin():
        config.attributes["connection"] = connection
        before = (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if connection.dialect.has_table(connection, "alembic_version")
            else ""
        )
        step = command.downgrade if (before or "") > revision else command.upgrade
        step(config, revision)


def add_old_job(connection: Connection, id: str, *, key: str | None, status: str, cancel: bool, spec: object) -> None:
    connection.execute(
        text(
            "INSERT INTO jobs (id, tenant, status, spec, idempotency_key, fingerprint, planned_inputs, planned_key,"
            " cancel_requested, total, pending, running, succeeded, failed, cancelled, created_at)"
            " VALUES (:id, 't', :status, :spec, :key, 'f', 0, '', :cancel, 1, 0, 0, 1, 0, 0, 5.0)"
        ),
        {"id": id, "status": status, "spec": json.dumps(spec), "key": key, "cancel": cancel},
    )
    connection.execute(
        text(
            "INSERT INTO chunks (job_id, style, version, status, attempt, failures, not_before, method)"
            " VALUES (:id, 's', 'v', 'done', 1, 0, 0, 'feedforward')"
        ),
        {"id": id},
    )


def test_rows_of_before_the_lifecycle_are_kept_with_their_keys(database_url: str) -> None:
    database = Database(database_url)
    move(database, "0003")
    with database.write() as connection:
        old = {"method": "optimize", "metadata": {"album": "spring"}}
        add_old_job(connection, "job_1", key="k", status="succeeded", cancel=False, spec=old)
        add_old_job(connection, "job_2", key=None, status="cancelled", cancel=True, spec={})
        add_old_job(connection, "job_3", key="n", status="planning", cancel=False, spec={})
        for run_id, key, parent in (("run_1", "k", None), ("run_2", "r", None), ("run_3", "s", {"run": "run_1"})):
            connection.execute(
                text(
                    "INSERT INTO runs (id, tenant, name, status, spec, step, steps, attempt, live, not_before,"
                    " failures, stop, idempotency_key, fingerprint, created_at, train_seconds, untidy)"
                    " VALUES (:id, 't', 'n', 'queued', :spec, 0, 1, 0, 'none', 0, 0, 'none', :key, 'g', 6.0, 0, :no)"
                ),
                {"id": run_id, "key": key, "spec": json.dumps({"parent": parent}), "no": False},
            )
    database.migrate()
    with database.read() as connection:
        jobs = connection.execute(text("SELECT id, method, planned, stop, priority FROM jobs ORDER BY id")).all()
        assert [tuple(job) for job in jobs] == [
            ("job_1", "optimize", True, None, "normal"),
            ("job_2", "feedforward", True, "cancel", "normal"),
            ("job_3", "feedforward", False, None, "normal"),
        ]
        keys = connection.execute(
            text("SELECT key, operation, fingerprint, resource_id, created_at FROM idempotency_keys ORDER BY key")
        ).all()
        assert [tuple(key) for key in keys] == [
            ("k", "job", "f", "job_1", 5.0),
            ("n", "job", "f", "job_3", 5.0),
            ("r", "run", "g", "run_2", 6.0),
            ("s", "fork", "g", "run_3", 6.0),
        ]
        labels = connection.execute(text("SELECT job_id, key, value, tenant FROM job_labels")).all()
        assert [tuple(label) for label in labels] == [("job_1", "album", "spring", "t")]
        assert connection.execute(text("SELECT count(*) FROM chunks")).scalar() == 3
    move(database, "0003")
    with database.read() as connection:
        rows = connection.execute(text("SELECT id, idempotency_key, cancel_requested FROM jobs ORDER BY id")).all()
        assert [tuple(row) for row in rows] == [
            ("job_1", "k", False),
            ("job_2", None, True),
            ("job_3", "n", False),
        ]
    database.migrate()
    database.close()


def test_a_key_of_before_the_scopes_goes_on_with_all_that_it_could_do(database_url: str) -> None:
    database = Database(database_url)
    move(database, "0004")
    key = new_api_key()
    old = {"prefix": key.split("_")[1], "sha256": sha256(key.encode()).hexdigest()}
    with database.write() as connection:
        insert = "INSERT INTO api_keys (prefix, sha256, tenant, created_at) VALUES (:prefix, :sha256, 'studio', 5.0)"
        connection.execute(text(insert), old)
    database.migrate()
    keys = Keys(database, clock=lambda: 6.0)
    caller = keys.authenticate(key)
    assert (caller.tenant, caller.scopes) == ("studio", frozenset(Scope))
    assert keys.own(caller).name == ""
    database.close()


def test_keys_that_ended_or_may_do_less_do_not_come_to_life_in_an_older_version(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    keys = Keys(database, clock=lambda: 6.0)
    whole, revoked, narrow = (new_api_key() for _ in range(3))
    for key in (whole, revoked):
        keys.add(key, tenant="studio")
    keys.add(narrow, tenant="studio", scopes=(Scope.JOBS_READ,))
    caller = keys.authenticate(whole)
    keys.revoke(caller, revoked.split("_")[1])
    keys.create(caller, name="brief", scopes=tuple(Scope), expires_at=7.0)
    assert len(keys.all(caller, tenant=None, limit=10, after=None)) == 4
    move(database, "0004")
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys")).all()
    assert [tuple(row) for row in rows] == [(caller.prefix, sha256(whole.encode()).hexdigest(), "studio", 6.0)]
    database.close()


def test_sqlite_checks_foreign_keys_again_after_a_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nst.db")
    database.migrate()
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()
