"""Tests of worker.segments.cache: which trainings stay from one segment to the next."""

from dataclasses import dataclass, replace
from typing import Any, cast

from worker.segments.cache import LiveTraining, Shelf, Standing


def place(run_id: str) -> Standing:
    return Standing(
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
    """What stands for a training on the shelf."""

    nbytes: int = 1
    closed: bool = False

    def close(self) -> None:
        self.closed = True


def put(shelf: Shelf, run_id: str, **values: Any) -> Warm:
    warm = Warm(**values)
    shelf.put(place(run_id), cast(LiveTraining, warm))
    return warm


def test_runs_in_turn_each_find_their_training_on_the_shelf() -> None:
    shelf = Shelf(keep_s=60, count=2)
    first, second = put(shelf, "a"), put(shelf, "b")
    for _ in range(3):
        for run_id, warm in (("a", first), ("b", second)):
            assert cast(Warm, shelf.take(place(run_id))) is warm
            shelf.put(place(run_id), cast(LiveTraining, warm))
    third = put(shelf, "c")
    assert (first.closed, second.closed, third.closed) == (True, False, False)
    shelf.close()
    assert second.closed
    assert third.closed


def test_a_training_that_stands_elsewhere_is_let_go_and_those_of_other_runs_stay() -> None:
    shelf = Shelf(keep_s=60)
    first, second = put(shelf, "a"), put(shelf, "b")
    assert shelf.take(replace(place("a"), checkpoint="another")) is None
    assert shelf.take(None) is None
    assert (first.closed, second.closed) == (True, False)
    shelf.close()


def test_the_shelf_keeps_so_many_bytes_but_always_the_newest() -> None:
    shelf = Shelf(keep_s=60, max_bytes=100)
    first, second, large = put(shelf, "a", nbytes=60), put(shelf, "b", nbytes=40), put(shelf, "c", nbytes=1000)
    assert (first.closed, second.closed, large.closed) == (True, True, False)
    shelf.close()


def test_a_shelf_for_none_lets_each_training_go() -> None:
    shelf = Shelf(keep_s=60, count=0)
    assert put(shelf, "a").closed
