"""The size of a painting in a training."""

import pytest

from nst_core.errors import ImageTooSmallError
from nst_core.training.paintings import style_size


@pytest.mark.parametrize(
    ("size", "longest_px", "resized"),
    [
        ((1500, 500), 640, (640, 213)),
        ((500, 1500), 48, (16, 48)),
        ((64, 64), 16, (16, 16)),
        ((80, 64), 640, (640, 512)),
    ],
)
def test_the_longest_side_has_its_size(size: tuple[int, int], longest_px: int, resized: tuple[int, int]) -> None:
    assert style_size(size, longest_px) == resized


@pytest.mark.parametrize(
    ("size", "longest_px", "message"),
    [
        ((1500, 500), 32, "side of 32 pixels the painting has 32 x 11; "),
        ((64, 6400), 640, "the painting has 6 x 640; "),
    ],
)
def test_a_painting_that_becomes_too_thin_is_refused(size: tuple[int, int], longest_px: int, message: str) -> None:
    with pytest.raises(ImageTooSmallError, match=message):
        style_size(size, longest_px)
