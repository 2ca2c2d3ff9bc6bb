"""The versions of schemas: old, newer, half done, and what a start does with each."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nst_core.errors import ConfigError
from scheduler.store import schemas
from scheduler.store.database import Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.schemas import SchemaState

#: The version of the code.
NEWEST = schemas.none().newest
NEXT = """
from alembic import op
import sqlalchemy as sa

revision, down_revision, branch_labels, depends_on = "0.2.0", "{newest}", None, None

def upgrade() -> None:
    op.add_column("jobs", sa.Column("mood", sa.String(length=8), nullable=True))
    {then}
"""


@pytest.fixture
def migrated(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(sqlite_template, tmp_path / "nst.db")
    database = Database(f"sqlite:///{tmp_path}/nst.db")
    yield database
    database.close()


def newer_code(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str = "") -> None:
    """Let the code need the version 0.2.0."""
    shutil.copytree(schemas.MIGRATIONS, folder / "migrations")
    (folder / "migrations" / "versions" / "9999_mood.py").write_text(NEXT.format(then=then, newest=NEWEST))
    monkeypatch.setattr(schemas, "MIGRATIONS", folder / "migrations")


def test_the_newest_schema_is_up_to_date(migrated: Database) -> None:
    schema = migrated.schema()
    assert (schema.state, schema.version, schema.newest) == (SchemaState.UP_TO_DATE, NEWEST, NEWEST)
    migrated.migrate(may_change=False)


def test_a_file_that_is_missing_is_empty_and_is_not_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nst.db")
    assert database.schema().state is SchemaState.EMPTY
    with pytest.raises(ConfigError, match=r"no tables yet.* Run `nst db upgrade`"):
        database.migrate(may_change=False)
    assert list(tmp_path.iterdir()) == []


def test_an_old_schema_is_refused_or_migrated(
    migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer_code(tmp_path, monkeypatch)
    with pytest.raises(
        ConfigError, match=rf"has the schema {NEWEST}; this version of nst needs 0\.2\.0.*nst db upgrade"
    ):
        migrated.migrate(may_change=False)
    assert migrated.schema().state is SchemaState.OLD
    migrated.migrate()
    assert migrated.schema().version == "0.2.0"


def test_a_migration_that_fails_leaves_the_old_schema(
    migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer_code(tmp_path, monkeypatch, then='op.execute("INSERT INTO nowhere VALUES (1)")')
    with pytest.raises(DatabaseUnavailableError, match="no such table: nowhere"):
        migrated.migrate()
    with migrated.read() as connection:
        assert "mood" not in {row[1] for row in connection.exec_driver_sql("PRAGMA table_info(jobs)")}
    assert migrated.schema().state is SchemaState.OLD


@pytest.mark.parametrize("may_change", [True, False])
@pytest.mark.parametrize(
    ("change", "state", "sentence"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", SchemaState.NEWER, "its schema, 9999, is unknown here"),
        ("DROP TABLE deliveries", SchemaState.DAMAGED, "it lacks deliveries"),
        ("ALTER TABLE jobs DROP COLUMN priority", SchemaState.DAMAGED, r"it lacks jobs\.priority"),
        ("DELETE FROM alembic_version", SchemaState.DAMAGED, "it lacks the version of its schema"),
    ],
)
def test_a_schema_that_no_migration_helps_is_refused_always(
    migrated: Database, change: str, state: SchemaState, sentence: str, may_change: bool
) -> None:
    with migrated.write() as connection:
        connection.exec_driver_sql(change)
    assert migrated.schema().state is state
    with pytest.raises(ConfigError, match=sentence):
        migrated.migrate(may_change=may_change)
