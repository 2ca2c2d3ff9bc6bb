"""Luminance, colours, blur and tiles."""

import numpy as np
import pytest
from skimage.filters import gaussian

from nst_core.looks.planes import blurred, colours, luminance, tiles
from tests.unit.nst_core.looks.kit import flat, grey, noise


def test_grey_has_its_level_and_no_colour() -> None:
    picture = grey(flat(77, height=3, width=4))
    assert luminance(picture) == pytest.approx(77)
    assert colours(picture)[..., 0] == pytest.approx(77)
    assert colours(picture)[..., 1:] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((255, 0, 0), (76.2, -43.0, 127.5)), ((0, 255, 0), (149.7, -84.5, -106.8)), ((0, 0, 255), (29.1, 127.5, -20.7))],
)
def test_colours_are_those_of_jpeg(rgb: tuple[int, int, int], expected: tuple[float, ...]) -> None:
    assert colours(np.array([[rgb]], np.uint8))[0, 0] == pytest.approx(expected, abs=0.1)


def test_a_blur_is_that_of_scikit_image() -> None:
    plane = noise(20, height=70, width=50)
    expected = gaussian(plane, 2.0, mode="nearest", truncate=3.0, preserve_range=True)  # type: ignore[no-untyped-call]
    assert blurred(plane, 2.0) == pytest.approx(expected, abs=1e-9)


def test_tiles_leave_out_what_is_no_whole_tile() -> None:
    plane = np.arange(7 * 9, dtype=float).reshape(7, 9)
    found = tiles(plane, 3)
    assert found.shape == (2, 3, 3, 3)
    assert np.array_equal(found[1, 2], plane[3:6, 6:9])
