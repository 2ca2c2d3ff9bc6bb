"""Engines and transactions for SQLite and PostgreSQL, and the migrations."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, TimeoutError

from nst_core.clock import Clock
from nst_core.errors import ConfigError
from scheduler.store.errors import DatabaseUnavailableError

_T = TypeVar("_T")

_BUSY_S = 20
#: Any number that nothing else in the database locks.
_MIGRATION_LOCK = 7_206_001


class Database:
    """A pool of connections; hands out read and write transactions."""

    def __init__(self, url: str, *, clock: Clock = time.time) -> None:
        """Open a pool for an SQLAlchemy address of SQLite or PostgreSQL; raise ConfigError for another.

        Transactions take the time of what they note by themselves, such as events, from `clock`.
        """
        self.engine = _make_engine(url)
        # Known as a writer from its first statement, an SQLite transaction waits for its turn instead of failing
        # in the middle, when it turns out that another has written since it began.
        self._writers = self.engine.execution_options(nst_write=True, nst_clock=clock)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading; raise DatabaseUnavailableError where the database does not answer."""
        with _translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection in a transaction, committed at the end unless an error passes through."""
        with _translated(), self._writers.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to its newest version."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                # Of schedulers that start at once, one migrates and the others wait; SQLite's writers do so anyway.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def now_of(connection: Connection) -> float:
    """Return the time by the clock of a write transaction's database."""
    clock: Clock = connection.get_execution_options()["nst_clock"]
    return clock()


def retried(change: Callable[[], _T]) -> _T:
    """Return what a transaction that adds rows returns; tried again where another one was first to add them."""
    for _ in range(2):
        with suppress(IntegrityError):
            return change()
    return change()


def _make_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("NST_DATABASE_URL is no address like sqlite:///nst.db or postgresql://…") from None
    if parsed.get_backend_name() == "postgresql":
        limits = {"connect_timeout": 5, "options": f"-c lock_timeout={_BUSY_S}s"}
        url_with_driver = parsed.set(drivername="postgresql+psycopg")
        return create_engine(url_with_driver, pool_pre_ping=True, pool_size=10, connect_args=limits)
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(f"NST_DATABASE_URL names {parsed.get_backend_name()}; nst takes SQLite and PostgreSQL.")
    engine = create_engine(parsed, connect_args={"timeout": _BUSY_S, "check_same_thread": False}, pool_size=10)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("nst_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DatabaseUnavailableError("No connection to the database became free in time.") from error
    except DBAPIError as error:
        if error.connection_invalidated or type(error).__name__ == "OperationalError":
            raise DatabaseUnavailableError(f"The database does not answer: {error.orig}") from error
        raise
