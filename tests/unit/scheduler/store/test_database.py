"""Tests of scheduler.store.database: transactions and errors on SQLite. tests/integration run PostgreSQL too."""

from collections.abc import Iterator

import pytest

from scheduler.store.database import Database, now_of, retried
from scheduler.store.errors import RowConflictError
from scheduler.store.uploads import Upload, find_upload, insert_upload
from tests.unit.scheduler.kit import ManualClock

UPLOAD = Upload(tenant="t", id="upl_1", created_at=1.0, used_at=1.0)


def test_a_transaction_is_committed_unless_an_error_passes(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            insert_upload(connection, UPLOAD)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.write() as connection:
        assert find_upload(connection, "t", "upl_1") is None
        insert_upload(connection, UPLOAD)
    with database.read() as connection:
        assert find_upload(connection, "t", "upl_1") == UPLOAD


def test_a_row_that_exists_is_a_conflict(database: Database) -> None:
    def add() -> None:
        with database.write() as connection:
            insert_upload(connection, UPLOAD)

    add()
    with pytest.raises(RowConflictError):
        add()


def test_a_change_is_tried_again_after_a_conflict() -> None:
    answers: Iterator[str | Exception] = iter([RowConflictError("first"), RowConflictError("second"), "made"])

    def change() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retried(change) == "made"


def test_the_third_conflict_is_raised() -> None:
    tries: list[None] = []

    def change() -> None:
        tries.append(None)
        raise RowConflictError("again")

    with pytest.raises(RowConflictError):
        retried(change)
    assert len(tries) == 3


def test_a_transaction_has_the_time_of_its_database(database: Database, clock: ManualClock) -> None:
    with database.write() as connection:
        assert now_of(connection) == clock.now
