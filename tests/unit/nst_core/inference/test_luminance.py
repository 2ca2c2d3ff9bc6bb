"""Tests of nst_core.inference.luminance."""

import numpy as np

from nst_core.inference.luminance import PARTS, grey_levels, luminance
from nst_core.nets.tensors import LUMA


def test_luminance_is_an_integer_of_the_usual_weights() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert luminance(picture).dtype == np.uint16
    assert grey_levels(picture).dtype == np.float32
    np.testing.assert_array_equal(luminance(picture), grey_levels(picture) * PARTS)
    assert np.abs(grey_levels(picture) - picture @ np.array(LUMA)).max() < 0.8


def test_greys_are_exact_from_black_to_white() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 256, 1), 3, axis=2)
    np.testing.assert_array_equal(luminance(greys)[0], np.arange(256) * PARTS)
