"""The noise that photos get before a network: its statistics, and that parts of a photo get theirs."""

import tracemalloc
from hashlib import sha256

import numpy as np
import pytest

from nst_core.nets.grain import SIDE_PX, grained, noise, tile


def photo(height: int, width: int, level: int = 100) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_each_channel_has_mean_0_and_deviation_1() -> None:
    assert tile().mean((0, 1)) == pytest.approx([0, 0, 0], abs=1e-6)
    assert tile().std((0, 1)) == pytest.approx([1, 1, 1], abs=1e-4)


def test_spots_are_about_ten_pixels_wide_and_channels_differ() -> None:
    values = tile()[..., 0]
    assert float((values * np.roll(values, 2, axis=0)).mean()) > 0.85
    assert abs(float((values * np.roll(values, 20, axis=1)).mean())) < 0.05
    assert abs(float((values * tile()[..., 1]).mean())) < 0.05


def test_opposite_edges_fit_together() -> None:
    inside = np.abs(np.diff(tile(), axis=0)).mean()
    assert np.abs(tile()[0] - tile()[-1]).mean() == pytest.approx(inside, rel=0.2)


def test_the_same_bytes_on_every_machine() -> None:
    digest = sha256(noise(64, 64, 6.0).astype("<i2").tobytes()).hexdigest()
    assert digest[:16] == "3496f2f3af9bc16f"


def test_a_flat_photo_gets_the_noise_in_whole_levels() -> None:
    result = grained(photo(600, 700), 6.0)
    np.testing.assert_array_equal(result.astype(np.int16) - 100, noise(600, 700, 6.0))
    assert result.std() == pytest.approx(6.0, rel=0.05)


def test_noise_repeats_after_the_side_of_the_tile() -> None:
    levels = noise(SIDE_PX + 8, SIDE_PX + 8, 4.0)
    np.testing.assert_array_equal(levels[:8], levels[SIDE_PX:])
    np.testing.assert_array_equal(levels[:, :8], levels[:, SIDE_PX:])


def test_black_and_white_stay_in_range() -> None:
    assert grained(photo(64, 64, 0), 20.0).min() == 0
    assert grained(photo(64, 64, 255), 20.0).max() == 255


def test_a_part_of_a_photo_gets_its_part_of_the_noise() -> None:
    whole = grained(photo(1200, 40), 6.0)
    np.testing.assert_array_equal(grained(photo(700, 40), 6.0, top=500), whole[500:])


def test_without_a_deviation_the_photo_is_returned_itself() -> None:
    given = photo(20, 20)
    assert grained(given, 0.0) is given


def test_noise_of_many_deviations_takes_no_more_memory_than_that_of_some() -> None:
    tile()
    tracemalloc.start()
    for number in range(24):
        grained(photo(8, 8), 5 + number / 16)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 9 * 2 * 3 * SIDE_PX**2  # all of them are 38 MB
