"""Tests of scheduler.store.patience: silence ends a statement, and slow answers do not."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError

from scheduler.store.patience import limit_silence, unlimited
from tests.postgres import find_postgres, run_postgres

LIMIT_S = 0.6
SILENT = "SELECT pg_sleep(1.5)"
#: Takes as long, but sends its rows as they come: each is larger than the buffer of the server.
SLOW = "SELECT repeat('x', 20000), pg_sleep(0.2) FROM generate_series(1, 8)"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if find_postgres() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    with TemporaryDirectory(prefix="nst-postgres-") as folder, run_postgres(Path(folder)) as address:
        yield address


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    engine = create_engine(address, pool_pre_ping=True)
    limit_silence(engine, statement_s=LIMIT_S, test_s=LIMIT_S)
    yield engine
    engine.dispose()


def test_a_silent_statement_ends_and_its_connection_is_replaced(engine: Engine) -> None:
    with engine.connect() as connection:
        first = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(OperationalError, match=r"no answer within 0\.6 s") as caught:
            connection.exec_driver_sql(SILENT)
        assert caught.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() != first


def test_a_statement_may_take_long_while_rows_arrive(engine: Engine) -> None:
    with engine.connect() as connection:
        assert len(connection.exec_driver_sql(SLOW).all()) == 8


def test_a_block_without_a_limit_may_be_silent_and_what_follows_may_not(engine: Engine) -> None:
    with engine.connect() as connection:
        with unlimited(connection):
            connection.exec_driver_sql(SILENT)
        with pytest.raises(OperationalError, match="no answer"):
            connection.exec_driver_sql(SILENT)
