"""How long a connection to PostgreSQL waits for a server that keeps its connections but says nothing.

The time-outs of the server are of no use if the server itself hangs, for example because its disk does or its virtual
machine is suspended: its system still acknowledges what is sent, so that TCP has nothing to complain about either.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

_T = TypeVar("_T")


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection that closes itself, and raises OperationalError, if the server says nothing for too long."""

    #: Seconds without a byte from the server; None: it waits for ever.
    statement_s: float | None = None
    #: The same for SQLAlchemy's test of a connection of the pool, which is the only thing that it does in autocommit.
    test_s: float | None = None

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **options: Any) -> _T:
        """Wait for an answer, as all methods do that need one."""
        limit_s = self.test_s if self.autocommit else self.statement_s
        if limit_s is None:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_limited(gen, limit_s), *args, **options)
        except _SilenceError:
            # An answer that comes late would be taken for that of the next statement.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {limit_s:g} s") from None


class _SilenceError(Exception):
    """Nothing came from the server."""


def _limited(gen: Generator[Any, Any, _T], limit_s: float) -> Generator[Any, Any, _T]:
    """Do what `gen` does, and raise _SilenceError if its socket has not been ready for `limit_s`."""
    until = time.monotonic() + limit_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready != waiting.Ready.NONE:
                until = time.monotonic() + limit_s
            elif time.monotonic() >= until:
                raise _SilenceError
            wanted = gen.send(ready)
    except StopIteration as end:
        result: _T = end.value
        return result


def limit_silence(engine: Engine, *, statement_s: float, test_s: float) -> None:
    """Let the connections of a pool wait for a silent server for this long: for a statement, and for their test."""

    def connect(dialect: Any, record: Any, args: Any, options: Any) -> DBAPIConnection:
        connection = ImpatientConnection.connect(*args, **options)
        connection.statement_s, connection.test_s = statement_s, test_s
        return connection  # type: ignore[return-value]  # SQLAlchemy describes it more narrowly than it uses it

    event.listen(engine, "do_connect", connect)


@contextmanager
def unlimited(connection: Connection) -> Iterator[None]:
    """Let a connection wait for ever for the statements of the block."""
    driver: Any = connection.connection.driver_connection
    limit_s, driver.statement_s = driver.statement_s, None
    try:
        yield
    finally:
        driver.statement_s = limit_s
