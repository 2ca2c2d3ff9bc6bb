"""Held-out photos: usable ones, the same for the same seed and photos, and never photos to train on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nst_core.errors import BlobUnavailableError, ConfigError
from nst_core.training.held_out import choose_held_out, few_held_out, split_names
from tests.unit.nst_core.training.kit import TINY, MemoryPhotos, encoded, soft_photos

GOOD = soft_photos(12).files
BAD = {
    "empty.jpg": b"",
    "text.jpg": b"This is no picture.\n" * 20,
    "tiny.png": encoded(Image.new("RGB", (15, 40))),
    "torn.png": GOOD["0.png"][: len(GOOD["0.png"]) // 2],
}


def mixed(bad: int, good: int = 12) -> MemoryPhotos:
    """Return so many unusable and usable photos whose names are in no order."""
    kinds = list(BAD.values())
    return MemoryPhotos(
        {f"{number * 7919 % 1000:03d}_bad.png": kinds[number % len(kinds)] for number in range(bad)}
        | {f"{number * 7907 % 1000:03d}_good.png": GOOD[f"{number}.png"] for number in range(good)}
    )


def held(source: MemoryPhotos, count: int, *, seed: int = 0) -> list[str]:
    """Return the names of the photos that are held out."""
    return split_names(source.names, choose_held_out(source, count, config=replace(TINY, seed=seed)))[1]


def test_an_unusable_photo_is_replaced_by_the_next_one_in_the_order_of_the_seed() -> None:
    source = mixed(bad=60)
    for seed in range(3):
        order = np.random.default_rng((seed, 72)).permutation(72)
        usable = [source.names[place] for place in order if source.names[place].endswith("_good.png")]
        assert held(source, 4, seed=seed) == sorted(usable[:4])
        assert held(source, 4, seed=seed) == held(mixed(bad=60), 4, seed=seed)
    assert held(source, 4, seed=0) != held(source, 4, seed=1)


def test_each_photo_is_either_trained_on_or_held_out() -> None:
    source = mixed(bad=20)
    marks = choose_held_out(source, 5, config=TINY)
    training, held_out = split_names(source.names, marks)
    assert len(held_out) == len(marks) == 5
    assert sorted([*training, *held_out]) == list(source.names)
    assert training == sorted(training)


def test_photos_that_come_or_go_do_not_change_which_others_are_held_out() -> None:
    source = mixed(bad=20)
    marks = choose_held_out(source, 3, config=TINY)
    before = split_names(source.names, marks)[1]
    names = sorted([*source.names, "new.png", "another.png"])
    names.remove(before[0])
    training, held_out = split_names(names, marks)
    assert held_out == before[1:]
    assert {"new.png", "another.png"} <= set(training)


@pytest.mark.parametrize(
    ("good", "count", "expected"), [(12, 4, 4), (12, 6, 6), (12, 7, 6), (3, 16, 1), (2, 1, 1), (5, 0, 0), (5, -1, 0)]
)
def test_at_least_half_of_the_usable_photos_are_trained_on(good: int, count: int, expected: int) -> None:
    found = held(mixed(bad=9, good=good), count)
    assert len(found) == expected
    assert all(name.endswith("_good.png") for name in found)


def test_no_more_photos_are_read_than_are_needed() -> None:
    source = mixed(bad=0)
    choose_held_out(source, 3, config=TINY)
    assert len(source.reads) == 6
    source.reads.clear()
    choose_held_out(source, 0, config=TINY)
    assert source.reads == []


def test_too_few_usable_photos_are_an_error_that_names_some() -> None:
    with pytest.raises(ConfigError, match=r"None of the 9 photos can be used \(\d+_bad.png: The "):
        choose_held_out(mixed(bad=9, good=0), 2, config=TINY)
    sentence = "Only 1 photo can be used, and a training that holds out photos needs at least 2: add photos, or set "
    with pytest.raises(ConfigError, match=sentence + r"held_out to 0. Others cannot be used \(\d+_bad.png: The "):
        choose_held_out(mixed(bad=9, good=1), 2, config=TINY)
    with pytest.raises(ConfigError, match=sentence + "held_out to 0.$"):
        choose_held_out(mixed(bad=0, good=1), 2, config=TINY)


def test_a_storage_that_does_not_answer_replaces_no_photo() -> None:
    class Silent(MemoryPhotos):
        def read(self, name: str) -> bytes:
            raise BlobUnavailableError("The storage did not answer.")

    with pytest.raises(BlobUnavailableError):
        choose_held_out(Silent(GOOD), 2, config=TINY)


def test_the_choice_can_be_interrupted_before_each_photo() -> None:
    source = mixed(bad=9)

    def after(photos: int) -> Callable[[], None]:
        def check() -> None:
            if len(source.reads) == photos:
                raise InterruptedError

        return check

    with pytest.raises(InterruptedError):
        choose_held_out(source, 2, config=TINY, on_photo=after(3))
    assert len(source.reads) == 3


def test_a_warning_says_that_fewer_photos_are_held_out() -> None:
    assert few_held_out(16, 16) is None
    assert few_held_out(0, 0) is None
    assert few_held_out(3, 16) == (
        "The training holds out only 3 of the 16 photos that were asked for: too few can be used."
    )
