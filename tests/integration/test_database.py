"""The schema in both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr

from nst_core.errors import ConfigError
from scheduler.local.servers import HOST, free_port
from scheduler.store.database import Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.tables import metadata


def test_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_database_that_does_not_answer_is_told_as_such(tmp_path: Path) -> None:
    database = Database(f"postgresql://nst@{HOST}:{free_port()}/nst")
    with pytest.raises(DatabaseUnavailableError), database.read():
        pass
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/nst"])
def test_address_of_another_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Database(SecretStr(url).get_secret_value())
