"""The schema and its migrations in both databases."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

import scheduler.store
from nst_core.errors import ConfigError
from scheduler.access.keys import Keys
from scheduler.domain.keys import new_api_key
from scheduler.store.database import _MIGRATION_LOCK, Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.tables import metadata


def differences(connection: Connection) -> list[object]:
    """Return how the schema differs from the tables of the code."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def alembic(change: Callable[[Config, str], None], database: Database, version: str) -> None:
    """Run a command of alembic."""
    config = Config()
    config.set_main_option("script_location", str(Path(scheduler.store.__file__).parent / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        change(config, version)


def test_migrations_make_exactly_the_tables_of_the_code(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    with database.read() as connection:
        assert differences(connection) == []
    database.close()


def test_a_second_migration_keeps_the_data(database_url: str) -> None:
    database, key = Database(database_url), new_api_key()
    database.migrate()
    keys = Keys(database, clock=lambda: 6.0)
    keys.add(key, tenant="studio")
    database.migrate()
    assert keys.authenticate(key).tenant == "studio"
    with database.read() as connection:
        assert differences(connection) == []
    database.close()


def test_a_downgrade_leaves_no_table_and_can_be_undone(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    alembic(command.downgrade, database, "base")
    with database.read() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
        assert differences(connection) != []
    database.migrate()
    with database.read() as connection:
        assert differences(connection) == []
    database.close()


def test_a_database_of_an_unknown_version_is_refused(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="another version of nst"):
        database.migrate()
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_start_waits_for_the_migration_of_another_one_however_long_it_takes(database_url: str) -> None:
    with (
        closing(Database(database_url)) as other,
        closing(Database(database_url, wait_s=0.2)) as database,
        ThreadPoolExecutor(1) as pool,
    ):
        with other.write() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            waiting = pool.submit(database.migrate)
            time.sleep(2)  # longer than it waits for any other lock, and than a statement of it may take
            assert not waiting.done()
        waiting.result(30)
        # What it migrates does not wait for ever for those who use the tables.
        with database.write() as connection:
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "200ms"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_migration_does_not_wait_for_ever_for_who_uses_the_tables(database_url: str) -> None:
    with closing(Database(database_url)) as other, closing(Database(database_url, wait_s=0.2)) as database:
        other.migrate()
        alembic(command.downgrade, other, "-1")
        with other.write() as connection:
            for table in inspect(connection).get_table_names():
                connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
                database.migrate()


def test_sqlite_checks_foreign_keys_again_after_a_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nst.db")
    database.migrate()
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()
