"""Tests of scheduler.control.setbacks."""

import logging
from collections.abc import Callable

import pytest

from nst_core.errors import BlobUnavailableError
from nst_core.system.logs import current
from scheduler.control.setbacks import Setbacks, of_job
from scheduler.store.errors import DatabaseUnavailableError


class Now:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


def full_disk() -> bool:
    raise OSError(28, "No space left on device")


def test_what_fails_waits_and_the_rest_goes_on(now: Now) -> None:
    setbacks = Setbacks[str]("testing", ids=of_job, timer=now, first_s=2.0)
    works: dict[str, Callable[[], bool]] = {
        "a": full_disk,
        "b": lambda: True,
        "c": lambda: 1 / 0 > 0,
        "d": lambda: True,
    }
    tried: list[str] = []

    def work(key: str) -> bool:
        tried.append(key)
        assert current() == {"job_id": key}
        return works[key]()

    assert setbacks.attempt_each(works, work)
    assert tried == ["a", "b", "c", "d"]
    assert setbacks.waiting() == ["a", "c"]
    tried.clear()
    assert setbacks.attempt_each(works, work)
    assert tried == ["b", "d"]
    now.at = 2.0
    tried.clear()
    setbacks.attempt_each(works, work)
    assert tried == ["a", "b", "c", "d"]


def test_pause_doubles_up_to_the_longest_and_begins_anew_after_a_success(now: Now) -> None:
    setbacks = Setbacks[str]("testing", timer=now, first_s=2.0, longest_s=10.0)
    for pause_s in (2.0, 4.0, 8.0, 10.0, 10.0):
        setbacks.attempt("a", full_disk)
        now.at += pause_s - 0.001
        assert not setbacks.is_ready("a")
        now.at += 0.001
        assert setbacks.is_ready("a")
    assert setbacks.attempt("a", lambda: True)
    setbacks.attempt("a", full_disk)
    now.at += 2.0
    assert setbacks.is_ready("a")


def test_error_that_stays_the_same_is_logged_once(now: Now, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    setbacks = Setbacks[str]("testing", timer=now)
    for _ in range(5):
        setbacks.attempt("job_1", full_disk)
        now.at += 100.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left on device" in caplog.text
    setbacks.attempt("job_1", lambda: True)
    assert "The testing of job_1 works again" in caplog.text


def test_bug_in_the_work_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Setbacks[str]("testing").attempt("job_1", lambda: 1 / 0 > 0)
    assert "Traceback" in caplog.text
    caplog.clear()

    def passing() -> bool:
        raise BlobUnavailableError("The storage is away.")

    Setbacks[str]("testing").attempt("job_2", passing)
    assert "The storage is away." in caplog.text
    assert "Traceback" not in caplog.text


def test_fault_of_the_database_is_none_of_the_work(now: Now) -> None:
    setbacks = Setbacks[str]("testing", timer=now)

    def work() -> bool:
        raise DatabaseUnavailableError("The database is away.")

    with pytest.raises(DatabaseUnavailableError):
        setbacks.attempt("a", work)
    assert setbacks.is_ready("a")
