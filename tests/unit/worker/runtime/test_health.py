"""Tests of worker.runtime.health, and of how pipelines and tasks use it."""

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event, Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from nst_core.errors import (
    BlobAccessError,
    BlobUnavailableError,
    EngineError,
    NstError,
    StorageClockError,
    StorageIdentityError,
)
from nst_core.inference.eager import EagerStylizer
from nst_core.styles import shipped_styles
from tests.unit.worker.kit import WAIT_S, Calls
from worker.runtime.engine import Engine
from worker.runtime.health import Health, Recovery, SelfTest
from worker.runtime.outcomes import InterruptedWorkError, retried

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
    #: When the process became ill (True) and well.
    changes: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.health = Health(
            self._test,
            ill_after_s=ILL_S,
            leave=self.reasons.append,
            on_change=self.changes.append,
            clock=lambda: self.now,
            sleep=self._sleep,
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


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


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


def test_work_that_repeatedly_makes_the_process_unhealthy_finally_fails(rig: Rig) -> None:
    class Poison:
        tries = 0

        def __call__(self) -> str:
            self.tries += 1
            rig.failures = 1
            raise MemoryError

    poison = Poison()
    with pytest.raises(EngineError):
        do(rig, poison)
    assert (poison.tries, rig.reasons) == (3, [])


def test_work_that_failed_during_the_self_test_is_repeated_too() -> None:
    in_test, answers = Event(), list[bool]()
    asked = [float(number) for number in range(8)]
    left = [True]

    def test() -> None:
        if left:
            left.clear()
            in_test.wait()
            raise MemoryError

    def never(reason: str) -> None:
        raise AssertionError(reason)

    health = Health(test, ill_after_s=ILL_S, leave=never, clock=lambda: asked.pop(0), sleep=lambda seconds: None)
    threads = [Thread(target=lambda: answers.append(health.recovered())) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(asked) > 5:
        pass  # both have failed before either gets an answer
    in_test.set()
    for thread in threads:
        thread.join()
    assert answers == [True, True]


REFUSALS: list[Exception] = [
    BlobAccessError("No."),
    StorageIdentityError("No."),
    StorageClockError("No."),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", REFUSALS)
def test_a_refusal_concerns_the_object_if_the_workers_bucket_is_usable(rig: Rig, error: Exception) -> None:
    with pytest.raises(NstError) as caught:
        do(rig, failing(error, error))
    assert (rig.tests, rig.reasons) == (1, [])
    # Only an error that may concern just this object is final.
    assert caught.value.retryable == (not isinstance(error, BlobAccessError))


@pytest.mark.parametrize("error", REFUSALS)
def test_a_worker_that_is_refused_everything_returns_its_work(rig: Rig, error: Exception) -> None:
    rig.faults = [StorageIdentityError("The key is not known.")] * 100
    with pytest.raises(InterruptedWorkError):
        do(rig, failing(error))
    tests, now = rig.tests, rig.now
    assert ILL_S < now - 1000.0 <= ILL_S + 2
    # Its other work does not wait again.
    with pytest.raises(InterruptedWorkError):
        do(rig, failing(error))
    assert (rig.tests, rig.now) == (tests, now)
    assert "The key is not known" in rig.reasons[0]


def test_a_refusal_is_retried_if_the_storage_does_not_answer_its_test(rig: Rig) -> None:
    rig.faults = [BlobUnavailableError("It does not answer.")]
    rig.silences = 3
    assert do(rig, failing(BlobAccessError("No."))) == "done"
    assert (rig.now, rig.reasons) == (1003.0, [])


def test_work_waits_for_the_end_of_a_storage_outage(rig: Rig) -> None:
    rig.silences = 5
    assert do(rig, failing(BlobUnavailableError("No."))) == "done"
    assert (rig.now, rig.reasons) == (1005.0, [])


def test_an_object_fails_if_only_it_is_unavailable(rig: Rig) -> None:
    with pytest.raises(BlobUnavailableError):
        do(rig, failing(BlobUnavailableError("No.")))
    assert (rig.now, rig.reasons) == (1000.0, [])


def test_a_worker_returns_its_work_after_a_long_outage(rig: Rig) -> None:
    rig.silences = 1000
    with pytest.raises(InterruptedWorkError):
        do(rig, failing(BlobUnavailableError("No.")))
    assert ILL_S < rig.now - 1000.0 <= ILL_S + 2
    assert "does not answer" in rig.reasons[0]


def test_each_refusal_leads_to_a_test_unless_one_came_after_it(rig: Rig) -> None:
    for number in range(1, 4):
        with pytest.raises(BlobAccessError):
            do(rig, failing(BlobAccessError("No.")))
        assert rig.tests == number
        rig.now += 0.001


def test_self_test_passes_for_a_shipped_network_and_detects_damage(engine: Engine) -> None:
    stylizer = EagerStylizer.load(shipped_styles()[0].weights())
    self_test = SelfTest(lambda: stylizer, engine=engine)
    self_test()
    self_test()
    for parameter in stylizer.net.parameters():
        parameter.data.flatten()[0] += 100.0
    with pytest.raises(EngineError, match="no longer computes"):
        self_test()


def test_self_test_raises_the_error_of_the_network(engine: Engine) -> None:
    def broken(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        SelfTest(lambda: Calls(broken), engine=engine)()


def test_self_test_waits_for_a_large_photo_as_long_as_the_engine_proceeds(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime.engine._SIGN_S", 0.02)
    stuck, go = Event(), Event()

    def paint() -> None:
        for _ in range(40):
            time.sleep(0.05)
            engine.proceed()

    def hang() -> None:
        stuck.set()
        assert go.wait(WAIT_S)

    stylizer = EagerStylizer.load(shipped_styles()[0].weights())
    self_test = SelfTest(lambda: stylizer, engine=engine, timeout_s=1.0)
    engine.submit(paint)
    self_test()
    engine.submit(hang)
    assert stuck.wait(WAIT_S)
    with pytest.raises(TimeoutError, match="one call"):
        self_test()
    go.set()


def test_work_gives_signs_while_its_worker_is_tested_behind_a_large_photo(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("engine._SIGN_S", "health._PAUSE_S"):
        monkeypatch.setattr(f"worker.runtime.{module}", 0.02)
    painting, go = Event(), Event()

    def paint() -> None:
        painting.set()
        assert go.wait(WAIT_S)

    def fail() -> None:
        raise EngineError("It broke.")

    stylizer = EagerStylizer.load(shipped_styles()[0].weights())
    health = Health(SelfTest(lambda: stylizer, engine=engine), ill_after_s=ILL_S, leave=lambda reason: None)
    signs = [0, 0]

    def work(number: int) -> None:
        def sign() -> None:
            signs[number] += 1

        with pytest.raises(EngineError):
            retried(fail, label="a", what="image", recovered=lambda problem: health.recovered(), waits=sign)

    engine.submit(paint)
    assert painting.wait(WAIT_S)
    # One of them waits for the test, which waits for the photo; the other one for the first.
    threads = [Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + WAIT_S
    while min(signs) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert min(signs) >= 3
    go.set()
    for thread in threads:
        thread.join()


def test_work_gives_signs_while_its_worker_is_ill(rig: Rig) -> None:
    signs: list[None] = []
    rig.failures = 3
    left = [True]

    def work() -> bool:
        if left:
            left.clear()
            raise EngineError("It broke.")
        return True

    def recovered(problem: NstError) -> bool:
        return rig.health.recovered()

    assert retried(work, label="a", what="image", recovered=recovered, waits=lambda: signs.append(None))
    assert len(signs) == 3


def test_the_start_and_the_end_of_an_illness_are_told(rig: Rig) -> None:
    rig.failures = 2
    assert do(rig, failing(MemoryError())) == "done"
    assert rig.changes == [True, False]
