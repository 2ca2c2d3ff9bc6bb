"""Tests of nst_core.inference.stylizer."""

import numpy as np
import numpy.typing as npt
import pytest

from nst_core.errors import ConfigError, ImageTooSmallError
from nst_core.inference.stylizer import check_call, is_nearly_flat


def test_valid_call_passes() -> None:
    check_call(np.zeros((2, 16, 20, 3), np.uint8), min_side_px=16)


@pytest.mark.parametrize(
    "batch", [np.zeros((16, 16, 3), np.uint8), np.zeros((1, 16, 16, 4), np.uint8), np.zeros((1, 16, 16, 3))]
)
def test_other_shape_or_type_is_refused(batch: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match="A batch must be"):
        check_call(batch, min_side_px=16)


def test_small_photo_is_refused() -> None:
    with pytest.raises(ImageTooSmallError, match="20 x 15 pixels; each side must have at least 16"):
        check_call(np.zeros((1, 15, 20, 3), np.uint8), min_side_px=16)


def test_few_levels_between_the_pixels_of_each_channel_are_nearly_flat() -> None:
    photo = np.random.default_rng(0).integers(0, 33, (70, 80, 3)).astype(np.uint8) + np.array([0, 90, 200], np.uint8)
    assert is_nearly_flat(photo, 0.0)
    assert is_nearly_flat(np.zeros((16, 16, 3), np.uint8), 0.0)
    assert not is_nearly_flat(photo, 1.0)
    assert is_nearly_flat(photo // 2, 1.0)
    assert not is_nearly_flat(np.zeros((16, 16, 3), np.uint8), 6.0)
    for row in (0, 64, 69):
        other = photo.copy()
        other[row, 5, 1] = 200
        assert not is_nearly_flat(other, 0.0)
