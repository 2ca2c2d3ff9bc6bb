"""`nst db`: which version the schema of the database has, and its migration."""

import os
from dataclasses import asdict

import typer
from pydantic import SecretStr, ValidationError
from rich.text import Text

from nst_core.errors import ConfigError
from nst_core.settings import describe
from scheduler.cli.commands.parameters import AsJson
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import Session, session_of
from scheduler.operations.places import home_of
from scheduler.settings import DatabaseSettings
from scheduler.store.database import Database
from scheduler.store.schemas import Schema, SchemaState

app = typer.Typer(no_args_is_help=True)

_VARIABLE = "NST_DATABASE_URL"


@app.command()
def upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Migrate the database to the schema of this version of nst.

    Nothing changes if it has that schema, or if the migration fails. Back up the database before.
    """
    session, database = session_of(context), database_of(session_of(context))
    before = database.schema()
    database.migrate()
    after = database.schema()
    if as_json:
        session.show({**asdict(after), "from": before.version}, repr, as_json=True)
    elif before == after:
        session.note(f"{after.sentence} Nothing was done.")
    else:
        session.note(f"The database was migrated from {before.version or 'nothing'} to {after.version}.")
    database.close()


@app.command()
def current(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the schema of the database."""
    session_of(context).show(_read(session_of(context)), _line, as_json=as_json)


@app.command()
def check(context: typer.Context, as_json: AsJson = False) -> ExitCode:
    """Check whether the database has the schema of this version of nst.

    The exit code is 0 if it has, otherwise 1.
    """
    schema = _read(session_of(context))
    session_of(context).show(schema, _line, as_json=as_json)
    return ExitCode.OK if schema.state is SchemaState.UP_TO_DATE else ExitCode.FAILED


def database_of(session: Session) -> Database:
    """Return the database of the home folder or of NST_DATABASE_URL.

    Raises ConfigError if there is neither, or if the address is not valid.
    """
    home = home_of(session, unless=_VARIABLE)
    if home is None and _VARIABLE not in os.environ:
        # The setting has a default, but a new file in the current folder is never what somebody wants to migrate.
        raise ConfigError(
            f"Which database? Set {_VARIABLE}, or name a home folder of `nst up` with --home; "
            f"there is none at {session.home}."
        )
    try:
        settings = DatabaseSettings() if home is None else DatabaseSettings(database_url=SecretStr(home.database_url))
    except ValidationError as error:
        raise ConfigError(describe(error)) from None
    return Database(settings.database_url.get_secret_value())


def _read(session: Session) -> Schema:
    database = database_of(session)
    try:
        return database.schema()
    finally:
        database.close()


def _line(schema: Schema) -> Text:
    return Text(f"{schema.sentence} {schema.remedy}".strip())
