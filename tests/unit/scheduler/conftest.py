"""A database and a broker in memory for unit tests of the scheduler."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.store.database import Database
from tests.unit.scheduler.kit import ManualClock
from tests.unit.scheduler.memory_broker import MemoryBroker


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path, clock: ManualClock) -> Iterator[Database]:
    """A migrated database in a file of its own."""
    path = tmp_path / "nst.db"
    shutil.copyfile(sqlite_template, path)
    database = Database(f"sqlite:///{path}", clock=clock)
    yield database
    database.close()


@pytest.fixture
def memory_broker(clock: ManualClock) -> MemoryBroker:
    return MemoryBroker(clock=clock)
