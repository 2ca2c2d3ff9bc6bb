"""Tests of scheduler.access.cache."""

from scheduler.access.cache import TimedCache
from tests.unit.scheduler.kit import ManualClock


def test_values_are_loaded_again_after_their_time() -> None:
    clock = ManualClock()
    loads: list[float] = []
    cache: TimedCache[str, int | None] = TimedCache(ttl_s=5.0, clock=clock, max_entries=2)

    def load() -> int:
        loads.append(clock.now)
        return len(loads)

    assert [cache.get("a", load), cache.get("a", load)] == [1, 1]
    clock.now += 5.0
    assert cache.get("a", load) == 2
    cache.drop("a")
    assert cache.get("a", load) == 3
    clock.now -= 1.0  # set back: what was read later is not believed for longer
    assert cache.get("a", load) == 4
    # What is not there is remembered as well.
    assert [cache.get("none", lambda: None), cache.get("none", load)] == [None, None]
    cache.get("b", load)
    assert cache.get("a", load) == 6


def test_what_changed_while_it_was_read_is_not_kept() -> None:
    cache: TimedCache[str, str] = TimedCache(ttl_s=5.0, clock=ManualClock())

    def load() -> str:
        cache.drop("a")  # by another thread, after this one has read
        return "old"

    assert cache.get("a", load) == "old"
    assert cache.get("a", lambda: "new") == "new"
