"""Engines and transactions for SQLite and PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection as Connection  # the functions of this package take it from a transaction
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, TimeoutError

from nst_core.clock import Clock
from nst_core.errors import ConfigError
from scheduler.store import schemas
from scheduler.store.errors import DatabaseFaultError, DatabaseUnavailableError, RowConflictError, UnstorableError
from scheduler.store.schemas import Schema, SchemaState

_T = TypeVar("_T")

#: Control loops can wait. Requests of the API cannot, because their clients wait for an answer.
PATIENT_S = 20.0
API_S = 4.0
#: A server that says nothing for this long hangs. Single statements of control loops take less, but for migrations.
_HUNG_S = 300.0
#: What a statement of the API has in addition to its time, which the server itself should keep.
_GRACE_S = 1.0
#: An arbitrary number that nothing else in the database locks.
_MIGRATION_LOCK = 7_206_001


#: SQLSTATEs of PostgreSQL after which a connection is of no more use: the server became read-only, as a primary does
#: that was demoted, or it ended a transaction that took too long. psycopg has them among its internal errors.
_DISCONNECTING = frozenset({"25006", "25P03", "25P04"})
#: SQLSTATEs of what somebody else can mend while we run: a right that is missing, and a table, as during a restore.
_REFUSING = frozenset({"42501", "42P01"})

#: Messages of PostgreSQL and SQLite about a wrong address. Other errors may be temporary, for example while a server
#: starts.
_REFUSALS = (
    *("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "permission denied"),
    *("unable to open database file", "readonly database", "could not translate host name", "failed to resolve host"),
)


class Database:
    """A pool of connections; hands out read and write transactions."""

    def __init__(self, url: str, *, wait_s: float = PATIENT_S, clock: Clock = time.time) -> None:
        """Open a pool for an SQLAlchemy address of SQLite or PostgreSQL; raise ConfigError for other addresses.

        For each of these a transaction waits `wait_s` at most, and then raises DatabaseUnavailableError: for a
        connection of the pool, for a lock, and on PostgreSQL twice as long for a statement. If it is 20 s or more, a
        statement may take as long as it needs, and fails only if the server says nothing for five minutes.
        `clock` gives the time for records that transactions add themselves, such as events.
        """
        self.engine = _make_engine(url, wait_s)
        # An SQLite transaction that begins as a writer waits for other writers. Otherwise it could fail
        # in the middle, because another one has written since it began.
        self._writers = self.engine.execution_options(nst_write=True, nst_clock=clock)

    @property
    def folder(self) -> Path | None:
        """The folder of the file of SQLite; None for a server, or a database in memory."""
        url = self.engine.url
        if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
            return None
        return Path(url.database).absolute().parent

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading; raise DatabaseUnavailableError if the database does not answer."""
        with _translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, wait_s: float | None = None) -> Iterator[Connection]:
        """Give a connection in a transaction, which is committed at the end unless an error is raised.

        It waits for locks for `wait_s` at most, or as long as all transactions of this object.
        """
        writers = self._writers if wait_s is None else self._writers.execution_options(nst_wait_s=wait_s)
        with _translated(), writers.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Raise DatabaseUnavailableError unless the database answers and can be written to."""
        with self.read() as connection:
            if connection.dialect.name != "postgresql":
                connection.exec_driver_sql("SELECT 1")
            elif connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on":
                # The server may have been demoted. Its address may lead to its successor by now.
                connection.invalidate()
                self.engine.dispose()
                raise DatabaseUnavailableError("The database is read-only.")

    def schema(self) -> Schema:
        """Return the version of the schema, and whether this code can use it; raise ConfigError as `migrate` does."""
        if self._is_missing():
            return schemas.none()
        with _usable(), self.read() as connection:
            return schemas.of(connection)

    def migrate(self, *, may_change: bool = True) -> None:
        """Migrate the schema to its newest version. If it may not change, only check that it is the newest.

        Raises ConfigError if a retry cannot help, for example if the server refuses the user, the file is not a
        database, or a newer version of nst has migrated it.
        """
        if not may_change:
            schema = self.schema()
            if schema.state is not SchemaState.UP_TO_DATE:
                raise ConfigError(f"{schema.sentence} {schema.remedy}")
            return
        with (
            _usable(),
            _translated(),
            self._writers.connect() as connection,
            _without_limit(connection),
            _without_foreign_keys(connection),
            connection.begin(),
        ):
            if connection.dialect.name == "postgresql":
                # If several schedulers start at once, one migrates, and the others wait as long as that takes. SQLite,
                # which several should not share, lets them wait as for any other writer.
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
            schemas.upgrade(connection)
            if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").all():
                raise ConfigError("The database has rows that refer to rows that do not exist.")

    def _is_missing(self) -> bool:
        """Return whether this is SQLite, and the file, which connecting would make, is not there."""
        return self.folder is not None and not Path(self.engine.url.database or "").exists()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def now_of(connection: Connection) -> float:
    """Return the time by the clock of a write transaction's database."""
    clock: Clock = connection.get_execution_options()["nst_clock"]
    return clock()


def retried(change: Callable[[], _T]) -> _T:
    """Run a transaction that adds rows, and return its result. Try it again, twice, if another one added them first."""
    for _ in range(2):
        with suppress(RowConflictError):
            return change()
    return change()


def _first_line(error: BaseException | None) -> str:
    text = str(getattr(error, "orig", error)).strip()
    return text.splitlines()[0] if text else "unknown"


def _make_engine(url: str, wait_s: float) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("NST_DATABASE_URL is not an address like sqlite:///nst.db or postgresql://…") from None
    if parsed.get_backend_name() == "postgresql":
        options = f"-c lock_timeout={_ms(wait_s)}"
        if wait_s < PATIENT_S:
            options += f" -c statement_timeout={_ms(2 * wait_s)}"
        limits = {
            "connect_timeout": max(2, min(5, int(wait_s))),
            "options": options,
            # If the server's network is gone, the system itself takes a quarter of an hour to notice, and two hours if
            # the server got the statement before.
            "tcp_user_timeout": _ms(2 * wait_s),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
        }
        url_with_driver = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(
            url_with_driver, pool_pre_ping=True, pool_size=10, pool_timeout=wait_s, connect_args=limits
        )
        event.listen(engine, "begin", _begin_postgres)
        event.listen(engine, "handle_error", _give_up_connections)
        # Late, because the driver of PostgreSQL takes a tenth of a second.
        from scheduler.store.patience import limit_silence

        statement_s = 2 * wait_s + _GRACE_S if wait_s < PATIENT_S else _HUNG_S
        limit_silence(engine, statement_s=statement_s, test_s=wait_s)
        return engine
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(f"NST_DATABASE_URL names {parsed.get_backend_name()}; nst takes SQLite and PostgreSQL.")
    connect_args = {"timeout": wait_s, "check_same_thread": False}
    engine = create_engine(parsed, connect_args=connect_args, pool_size=10, pool_timeout=wait_s)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", partial(_begin_sqlite, wait_s))
    return engine


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(usual_wait_s: float, connection: Connection) -> None:
    options = connection.get_execution_options()
    wait_ms, info = _ms(options.get("nst_wait_s", usual_wait_s)), connection.info
    if info.get("nst_wait_ms") != wait_ms:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={wait_ms}")
        info["nst_wait_ms"] = wait_ms
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("nst_write") else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    wait_s = connection.get_execution_options().get("nst_wait_s")
    if wait_s is not None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout={_ms(wait_s)}")


def _give_up_connections(context: ExceptionContext) -> None:
    """Let the pool close all connections to a server that writes no more: it still answers the pool's test of them."""
    if _sqlstate(context.original_exception) in _DISCONNECTING:
        context.is_disconnect = True


def _sqlstate(error: BaseException | None) -> str | None:
    return getattr(error, "sqlstate", None)


def _ms(seconds: float) -> int:
    # 0 would mean forever.
    return max(1, round(seconds * 1000))


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Turn off SQLite's checks of foreign keys: to drop a column, it recreates a table that others refer to.

    Enter it before the transaction begins: inside one, SQLite does not change this setting.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


@contextmanager
def _without_limit(connection: Connection) -> Iterator[None]:
    """Let a migration take as long as it needs: one that changes a large table says nothing for minutes."""
    if connection.dialect.name != "postgresql":
        yield
        return
    from scheduler.store.patience import unlimited

    with unlimited(connection):
        yield


@contextmanager
def _usable() -> Iterator[None]:
    """Turn errors of the database after which a retry cannot help into ConfigError."""
    try:
        yield
    except (DBAPIError, DatabaseFaultError, RowConflictError, UnstorableError) as error:
        raise ConfigError(f"NST_DATABASE_URL cannot be used: {_first_line(error)}") from error
    except DatabaseUnavailableError as error:
        refused = _sqlstate(getattr(error.__cause__, "orig", None)) in _REFUSING
        if refused or any(words in error.message for words in _REFUSALS):
            raise ConfigError(f"NST_DATABASE_URL cannot be used: {_first_line(error.__cause__)}") from error
        raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DatabaseUnavailableError("No connection to the database became free in time.") from error
    except IntegrityError as error:
        raise RowConflictError(str(error.orig)) from error
    except DataError as error:
        raise UnstorableError(str(error.orig)) from error
    except DBAPIError as error:
        if error.connection_invalidated or type(error).__name__ == "OperationalError":
            raise DatabaseUnavailableError(f"The database does not answer: {error.orig}") from error
        if _sqlstate(error.orig) in _REFUSING:
            raise DatabaseUnavailableError(f"The database refuses: {error.orig}") from error
        raise DatabaseFaultError(str(error.orig)) from error
