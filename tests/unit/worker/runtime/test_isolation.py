"""Tests of worker.runtime.isolation."""

from threading import Event, Thread

from tests.unit.worker.kit import WAIT_S, wait_until
from worker.runtime.isolation import Isolation


class Guest:
    """A chunk in its own thread, which stays until it is told to leave."""

    def __init__(self, isolation: Isolation, *, alone: bool = False, is_long: bool = False) -> None:
        self.is_in, self.go, self.give_up = Event(), Event(), Event()
        self.had_place: bool | None = None
        self._isolation, self._alone, self._is_long = isolation, alone, is_long
        self._thread = Thread(target=self._stay, daemon=True)
        self._thread.start()

    def _stay(self) -> None:
        with self._isolation.enter(
            alone=self._alone, still=lambda: not self.give_up.is_set(), is_long=self._is_long
        ) as entered:
            self.had_place = entered
            if entered:
                self.is_in.set()
                assert self.go.wait(WAIT_S)

    def leave(self) -> None:
        self.go.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def test_chunks_run_concurrently() -> None:
    isolation = Isolation()
    first, second = Guest(isolation), Guest(isolation)
    assert first.is_in.wait(WAIT_S)
    assert second.is_in.wait(WAIT_S)
    for guest in (first, second):
        guest.leave()


def test_a_chunk_that_must_be_alone_waits_for_others_and_blocks_new_ones() -> None:
    isolation = Isolation()
    first = Guest(isolation)
    assert first.is_in.wait(WAIT_S)
    assert isolation.must_wait(alone=True)
    loner = Guest(isolation, alone=True)
    wait_until(lambda: isolation.must_wait(alone=False))
    late = Guest(isolation)
    assert not loner.is_in.wait(0.1)
    first.leave()
    assert loner.is_in.wait(WAIT_S)
    assert not late.is_in.wait(0.1)
    loner.leave()
    assert late.is_in.wait(WAIT_S)
    late.leave()
    assert not isolation.must_wait(alone=True)


def test_a_chunk_that_is_no_longer_wanted_stops_waiting() -> None:
    isolation = Isolation()
    first = Guest(isolation)
    assert first.is_in.wait(WAIT_S)
    loner = Guest(isolation, alone=True)
    loner.give_up.set()
    loner.leave()
    assert loner.had_place is False
    assert not isolation.must_wait(alone=False)
    first.leave()


def test_short_chunks_run_while_a_chunk_that_must_be_alone_waits_for_a_long_one() -> None:
    isolation = Isolation()
    long = Guest(isolation, is_long=True)
    assert long.is_in.wait(WAIT_S)
    loner = Guest(isolation, alone=True)
    wait_until(lambda: isolation._waiting_alone == 1)
    short = Guest(isolation)
    assert short.is_in.wait(WAIT_S)
    short.leave()
    other_long = Guest(isolation, is_long=True)
    assert not other_long.is_in.wait(0.1), "one long chunk after the other would keep it from ever running"
    long.leave()
    assert loner.is_in.wait(WAIT_S)
    loner.leave()
    assert other_long.is_in.wait(WAIT_S)
    other_long.leave()
    assert not isolation.must_wait(alone=True)


def test_a_chunk_that_must_be_alone_gives_up_after_a_minute_beside_a_long_one() -> None:
    now = [100.0]
    isolation = Isolation(clock=lambda: now[0])
    long = Guest(isolation, is_long=True)
    assert long.is_in.wait(WAIT_S)
    loner = Guest(isolation, alone=True)
    wait_until(lambda: isolation._waiting_alone == 1)
    now[0] += 59
    assert not loner.is_in.wait(0.7)
    now[0] += 1
    loner.leave()
    assert loner.had_place is False
    assert not isolation.must_wait(alone=False, is_long=True)
    long.leave()


def test_a_chunk_that_must_be_alone_waits_for_short_ones_as_long_as_they_take() -> None:
    now = [100.0]
    isolation = Isolation(clock=lambda: now[0])
    short = Guest(isolation)
    assert short.is_in.wait(WAIT_S)
    loner = Guest(isolation, alone=True)
    wait_until(lambda: isolation._waiting_alone == 1)
    now[0] += 3600
    assert not loner.is_in.wait(0.7)
    short.leave()
    assert loner.is_in.wait(WAIT_S)
    loner.leave()
