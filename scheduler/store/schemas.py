"""The schema of a database: which version it has, and the migrations to the newest one."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from nst_core.errors import ConfigError
from scheduler.store.tables import metadata

#: The folder of the migrations.
MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaState(StrEnum):
    """Whether this version of nst can use a database."""

    UP_TO_DATE = "up_to_date"  # yes
    EMPTY = "empty"  # after a migration, which makes all tables
    OLD = "old"  # after a migration
    NEWER = "newer"  # no: its version is unknown here
    DAMAGED = "damaged"  # no: it lacks something that its version has; a restore was left half done


_REMEDIES = {
    SchemaState.UP_TO_DATE: "",
    SchemaState.EMPTY: "Run `nst db upgrade`.",
    SchemaState.OLD: "Back it up, and run `nst db upgrade`.",
    SchemaState.NEWER: "Use the version of nst that migrated it, or a backup from before.",
    SchemaState.DAMAGED: "Restore the whole database from a backup.",
}


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What was found in a database."""

    state: SchemaState
    #: The version of the database; None if it has none.
    version: str | None
    #: The version that this code needs.
    newest: str
    #: Tables (`jobs`) and columns (`jobs.status`) that should be there.
    missing: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was found, in a sentence."""
        match self.state:
            case SchemaState.UP_TO_DATE:
                return f"The database has the newest schema, {self.newest}."
            case SchemaState.EMPTY:
                return f"The database has no tables yet; this version of nst needs the schema {self.newest}."
            case SchemaState.OLD:
                return f"The database has the schema {self.version}; this version of nst needs {self.newest}."
            case SchemaState.NEWER:
                return f"The database belongs to another version of nst: its schema, {self.version}, is unknown here."
        more = f" and {len(self.missing) - 3} more" if len(self.missing) > 3 else ""
        lacks = ", ".join(self.missing[:3]) + more if self.missing else "the version of its schema"
        return f"The database is incomplete: it lacks {lacks}."

    @property
    def remedy(self) -> str:
        """What to do about it, in a sentence; empty if nothing."""
        return _REMEDIES[self.state]


def none() -> Schema:
    """Return the schema of a database without tables."""
    return Schema(state=SchemaState.EMPTY, version=None, newest=_newest(_scripts()))


def of(connection: Connection) -> Schema:
    """Return the schema of a database."""
    scripts = _scripts()
    newest = _newest(scripts)
    versions = MigrationContext.configure(connection).get_current_heads()
    version = versions[0] if len(versions) == 1 else None
    if version is None:
        tables = {*inspect(connection).get_table_names()}.intersection(metadata.tables)
        state = SchemaState.DAMAGED if tables else SchemaState.EMPTY
        return Schema(state=state, version=None, newest=newest)
    if not is_known(version):
        return Schema(state=SchemaState.NEWER, version=version, newest=newest)
    if version != newest:
        return Schema(state=SchemaState.OLD, version=version, newest=newest)
    missing = _missing(connection)
    state = SchemaState.DAMAGED if missing else SchemaState.UP_TO_DATE
    return Schema(state=state, version=version, newest=newest, missing=missing)


def upgrade(connection: Connection) -> None:
    """Migrate a database to the newest version; raise ConfigError if its version is unknown, or it is damaged."""
    before = of(connection)
    if before.state in (SchemaState.NEWER, SchemaState.DAMAGED):
        raise ConfigError(f"{before.sentence} {before.remedy}")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _missing(connection: Connection) -> tuple[str, ...]:
    """Return which tables and columns of the code the database lacks."""
    columns = {
        name: {column["name"] for column in found}
        for (_, name), found in inspect(connection).get_multi_columns().items()
    }
    lacks: list[str] = []
    for table in metadata.sorted_tables:
        if table.name not in columns:
            lacks.append(table.name)
        else:
            lacks += [
                f"{table.name}.{column.name}" for column in table.columns if column.name not in columns[table.name]
            ]
    return tuple(lacks)


def is_known(version: str) -> bool:
    """Return whether a version of the schema is one that this code knows, and migrates to the newest."""
    return version in {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _newest(scripts: ScriptDirectory) -> str:
    head = scripts.get_current_head()
    assert head is not None, "there is a migration"
    return head


def _config() -> Config:
    config = Config()
    # The file format of alembic gives % a meaning.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
