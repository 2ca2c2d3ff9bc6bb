"""Tests of worker.runtime.outcomes, with the health checks that decide on retries."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nst_core.errors import (
    BlobAccessError,
    BlobUnavailableError,
    DiskError,
    EngineError,
    ImageDecodeError,
    NstError,
    StorageClockError,
    StorageIdentityError,
)
from worker.runtime.health import Health, Recovery
from worker.runtime.outcomes import InterruptedWorkError, Stopwatch, problem_of, retried

ILL_S = 10.0


@dataclass
class Rig:
    """A process that fails its self-test a given number of times, and a clock that moves only by sleeping."""

    now: float = 1000.0
    failures: int = 0
    tests: int = 0
    reasons: list[str] = field(default_factory=list)
    #: The answers of the storage to its next tests.
    faults: list[Exception] = field(default_factory=list)
    #: How many more times the storage does not answer.
    silences: int = 0

    def __post_init__(self) -> None:
        self.health = Health(
            self._test, ill_after_s=ILL_S, leave=self.reasons.append, clock=lambda: self.now, sleep=self._sleep
        )
        self.storage = Health(
            self._test_storage, ill_after_s=ILL_S, leave=self._retire, clock=lambda: self.now, sleep=self._sleep
        )
        self.outage = Health(
            self._ask_storage,
            ill_after_s=ILL_S,
            leave=self._retire,
            not_of_this=(),
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        self.recovery = Recovery(engine=self.health, storage=self.storage, disk=self.storage, outage=self.outage)

    def _test(self) -> None:
        self.tests += 1
        if self.failures:
            self.failures -= 1
            raise MemoryError

    def _test_storage(self) -> None:
        self.tests += 1
        if self.faults:
            raise self.faults.pop(0)

    def _ask_storage(self) -> None:
        if self.silences:
            self.silences -= 1
            raise BlobUnavailableError("It does not answer.")

    def _retire(self, reason: str) -> None:
        self.reasons.append(reason)
        raise InterruptedWorkError

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def rig() -> Rig:
    return Rig()


def failing(*errors: Exception) -> Callable[[], str]:
    """Return work that raises the errors one by one, and then succeeds."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def do(rig: Rig, work: Callable[[], str]) -> str:
    return retried(work, label="item 1", what="image", recovered=rig.recovery)


def test_a_healthy_process_blames_the_work_that_failed(rig: Rig) -> None:
    with pytest.raises(EngineError, match="too large"):
        do(rig, failing(RuntimeError("too large")))
    assert (rig.tests, rig.reasons) == (1, [])


def test_work_that_failed_in_an_unhealthy_process_is_repeated(rig: Rig) -> None:
    rig.failures = 3
    assert do(rig, failing(SystemError("error return without exception set"))) == "done"
    assert rig.now == 1003.0
    assert rig.reasons == []


def test_a_process_that_stays_unhealthy_ends(rig: Rig) -> None:
    rig.failures = 100
    with pytest.raises(NstError):
        do(rig, failing(TypeError("'frame' object is not callable")))
    [reason] = rig.reasons
    assert "MemoryError" in reason
    assert ILL_S < rig.now - 1000.0 <= ILL_S + 2


@pytest.mark.parametrize("error", [ImageDecodeError("No."), BlobUnavailableError("No.")])
def test_errors_with_a_known_cause_need_no_self_test(rig: Rig, error: NstError) -> None:
    with pytest.raises(type(error)):
        do(rig, failing(error))
    with pytest.raises(InterruptedWorkError):
        do(rig, failing(InterruptedWorkError()))
    assert rig.tests == 0


REFUSALS: list[Exception] = [
    BlobAccessError("No."),
    StorageIdentityError("No."),
    StorageClockError("No."),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", REFUSALS)
def test_work_refused_before_new_credentials_came_is_repeated(rig: Rig, error: Exception) -> None:
    rig.faults = [StorageIdentityError("No.")] * 3
    assert do(rig, failing(error)) == "done"
    assert rig.reasons == []


def test_a_disk_failure_is_distinguished_from_other_faults() -> None:
    full = problem_of(OSError(errno.ENOSPC, "No space left on device"), label="item 1", what="image")
    assert isinstance(full, DiskError)
    assert "No space left" in full.message
    assert type(problem_of(OSError(errno.ENOENT, "No such file"), label="item 1", what="image")) is NstError


def test_a_pause_is_not_measured() -> None:
    now = [0.0]
    watch = Stopwatch(lambda: now[0])
    with watch:
        now[0] += 2.0
        with watch.paused():
            now[0] += 5.0
            with watch:
                now[0] += 1.0
        now[0] += 3.0
    assert watch.seconds == 6.0
