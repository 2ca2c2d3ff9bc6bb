"""Checks of the database: access, and the version of its schema."""

from collections.abc import Iterator
from contextlib import closing

from nst_core.errors import ConfigError
from scheduler.operations.findings import Finding, ok, problem, warning
from scheduler.store.database import API_S, Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.schemas import SchemaState

#: What a scheduler mends when it starts, unless NST_MIGRATE is "refuse".
_MENDED = (SchemaState.EMPTY, SchemaState.OLD)


def check_database(url: str, *, migrates: bool) -> Iterator[Finding]:
    """Yield the findings about the database at an address; `migrates` says whether schedulers migrate it."""
    try:
        with closing(Database(url, wait_s=API_S)) as database:
            schema, backend = database.schema(), database.engine.url.get_backend_name()
    except ConfigError as error:
        yield problem("database", "database_unusable", error.message, "Correct NST_DATABASE_URL.")
        return
    except DatabaseUnavailableError as error:
        remedy = "Start it, or correct NST_DATABASE_URL, or the network."
        yield problem("database", "database_unreachable", error.message, remedy)
        return
    yield ok("database", f"{'SQLite' if backend == 'sqlite' else 'PostgreSQL'} answers.")
    code = f"schema_{schema.state}"
    if schema.state is SchemaState.UP_TO_DATE:
        yield ok("database_schema", schema.sentence)
    elif migrates and schema.state in _MENDED:
        remedy = f"{schema.remedy} Or start a scheduler, which does the same."
        yield warning("database_schema", code, schema.sentence, remedy)
    else:
        yield problem("database_schema", code, schema.sentence, schema.remedy)
