"""Tests of worker.segments.cache: which trainings are kept between segments."""

from dataclasses import dataclass, replace
from typing import Any, cast

from worker.segments.cache import LoadedTraining, TrainingCache, TrainingState


def state(run_id: str) -> TrainingState:
    return TrainingState(
        run_id=run_id,
        steps=1,
        painting="p",
        photos="s3://b/p/",
        held_out=0,
        samples=(),
        exact=True,
        checkpoint="c",
    )


@dataclass(eq=False)
class Warm:
    """Stands for a training in the cache."""

    nbytes: int = 1
    closed: bool = False

    def close(self) -> None:
        self.closed = True


def put(cache: TrainingCache, run_id: str, **values: Any) -> Warm:
    warm = Warm(**values)
    cache.put(state(run_id), cast(LoadedTraining, warm))
    return warm


def test_runs_that_take_turns_find_their_trainings_in_the_cache() -> None:
    cache = TrainingCache(keep_s=60, count=2)
    first, second = put(cache, "a"), put(cache, "b")
    for _ in range(3):
        for run_id, warm in (("a", first), ("b", second)):
            assert cast(Warm, cache.take(state(run_id))) is warm
            cache.put(state(run_id), cast(LoadedTraining, warm))
    third = put(cache, "c")
    assert (first.closed, second.closed, third.closed) == (True, False, False)
    cache.close()
    assert second.closed
    assert third.closed


def test_a_training_at_another_checkpoint_is_closed_and_other_runs_are_kept() -> None:
    cache = TrainingCache(keep_s=60)
    first, second = put(cache, "a"), put(cache, "b")
    assert cache.take(replace(state("a"), checkpoint="another")) is None
    assert cache.take(None) is None
    assert (first.closed, second.closed) == (True, False)
    cache.close()


def test_the_cache_is_limited_in_bytes_but_keeps_the_newest() -> None:
    cache = TrainingCache(keep_s=60, max_bytes=100)
    first, second, large = put(cache, "a", nbytes=60), put(cache, "b", nbytes=40), put(cache, "c", nbytes=1000)
    assert (first.closed, second.closed, large.closed) == (True, True, False)
    cache.close()


def test_a_cache_of_size_zero_closes_each_training() -> None:
    cache = TrainingCache(keep_s=60, count=0)
    assert put(cache, "a").closed
