"""Tests of nst_core.inference.stylizer."""

import numpy as np
import numpy.typing as npt
import pytest

from nst_core.errors import ConfigError, ImageTooSmallError
from nst_core.inference.stylizer import check_call


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
