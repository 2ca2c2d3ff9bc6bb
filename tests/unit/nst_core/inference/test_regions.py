"""Tests of nst_core.inference.regions."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_core.inference import blend as module
from nst_core.inference.blend import Weight
from nst_core.inference.regions import EVERYWHERE, paint_region, seen
from nst_core.inference.stylizer import Pixels

LOWEST, FIRST, SECOND = (np.full((24, 32, 3), value, np.uint8) for value in (0, 100, 200))


def columns(*values: int) -> Weight:
    """Return a weight of 24 x 32 with columns of the same width."""
    return np.tile(np.repeat(np.array(values, np.uint8), 32 // len(values)), (24, 1))


def composed(*weights: Weight | None) -> Pixels:
    """Return what a worker makes of two regions over a lowest style."""
    pictures = [LOWEST.copy(), FIRST.copy(), SECOND.copy()]
    (lowest, _), *regions = seen([EVERYWHERE, *weights])
    result = pictures[lowest]
    for place, (region, _) in enumerate(regions):
        result = paint_region(result, pictures[region], [weight for _, weight in regions[place:]])
    return result


def test_a_region_is_painted_where_its_weight_is_white() -> None:
    result = composed(columns(255, 0, 0, 0), columns(0, 0, 0, 255))
    assert result[5, [4, 12, 20, 28], 1].tolist() == [100, 0, 0, 200]


def test_the_last_of_regions_that_overlap_lies_on_top() -> None:
    result = composed(columns(255, 255), columns(0, 255))
    assert result[5, [8, 24], 0].tolist() == [100, 200]
    result = composed(columns(0, 255), columns(255, 255))
    assert result[5, [8, 24], 0].tolist() == [200, 200]


def test_what_a_soft_region_leaves_belongs_to_the_one_below() -> None:
    # Of the first half 102 of 255 belong to the second region; the first one has the rest, or as much as it takes.
    result = composed(columns(255, 51, 51, 0), columns(102, 102, 0, 102))
    assert result[5, [4, 12, 20, 28], 0].tolist() == [140, 100, 20, 80]


@pytest.mark.parametrize("own", range(0, 256, 15))
def test_nothing_of_the_lowest_style_shows_between_weights_that_add_up(own: int) -> None:
    result = composed(columns(255 - own, 255), columns(own, 0))
    assert abs(int(result[5, 3, 0]) - (100 + 100 * own / 255)) <= 0.51


def test_a_picture_has_no_more_of_a_region_than_its_weight() -> None:
    weights = np.random.default_rng(0).integers(0, 256, (2, 24, 32), dtype=np.uint8)
    first, second = weights.astype(float) / 255
    expected = 200 * second + 100 * np.minimum(first, 1 - second)
    assert np.abs(composed(*weights)[..., 2] - expected).max() <= 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 255), min_size=24 * 32, max_size=24 * 32))
def test_a_white_region_is_its_picture_and_a_black_one_is_not_there(other: list[int]) -> None:
    soft = np.array(other, np.uint8).reshape(24, 32)
    rng = np.random.default_rng(1)
    below, painted = rng.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    white, black = np.full((7, 5), 255, np.uint8), np.zeros((7, 5), np.uint8)
    np.testing.assert_array_equal(paint_region(below.copy(), painted, [white]), painted)
    np.testing.assert_array_equal(paint_region(below.copy(), painted, [black]), below)
    np.testing.assert_array_equal(paint_region(below.copy(), painted, [black, soft]), below)
    np.testing.assert_array_equal(paint_region(below.copy(), painted, [soft, white]), below)


def test_a_picture_that_may_not_be_written_to_stays_as_it_is() -> None:
    below = LOWEST.copy()
    below.flags.writeable = False
    result = paint_region(below, FIRST, [EVERYWHERE])
    assert (below[0, 0, 0], result[0, 0, 0]) == (0, 100)


def test_bands_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = np.random.default_rng(2).integers(0, 256, (11, 9), dtype=np.uint8)
    whole = paint_region(LOWEST.copy(), SECOND, [soft, columns(9, 90)])
    monkeypatch.setattr(module, "_BAND_PIXELS", 32 * 5)
    pieces = paint_region(LOWEST.copy(), SECOND, [soft, columns(9, 90)])
    # Weights between two pixels of a small mask may be rounded in another way.
    assert np.abs(whole.astype(int) - pieces).max() <= 2


def test_what_is_not_seen_need_not_be_painted() -> None:
    black, white, half = columns(0), columns(255), columns(0, 255)

    def places(*weights: Weight | None) -> list[int]:
        return [place for place, _ in seen([EVERYWHERE, *weights])]

    assert places() == [0]
    assert places(black, None, half) == [0, 3]
    assert places(half, white) == [2]
    assert places(white, half, half) == [1, 2, 3]
    assert places(white, white, black) == [2]


def test_it_needs_no_torch() -> None:
    code = "import sys, nst_core.inference.regions; raise SystemExit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
