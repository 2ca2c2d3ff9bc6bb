"""Measures how much the look of a photo changes with its size, and with what else is on it."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from PIL import Image

from nst_core.looks.planes import Pixels

Paint = Callable[[Pixels], Pixels]
#: A place in the result of a network depends most on what is nearer than this.
CROP_MARGIN_PX = 64


def change_between_sizes(paint: Paint, photo: Pixels, *, small_pixels: int, large_pixels: int) -> float:
    """Return the mean difference, in grey levels, of a photo painted small, and painted large and then reduced.

    `paint` returns the picture of a photo in the photo's size.
    """
    small, large = (_with_pixels(photo, pixels) for pixels in (small_pixels, large_pixels))
    reduced = Image.fromarray(paint(large)).resize((small.shape[1], small.shape[0]), Image.Resampling.LANCZOS)
    return mean_difference(paint(small), np.asarray(reduced))


def change_by_cropping(paint: Paint, photo: Pixels, picture: Pixels) -> float:
    """Return the mean difference, in grey levels, of a crop painted alone and its place in the picture of the photo.

    The crop is the middle, two thirds as high and as wide. At its new edge 64 px are not compared, or an eighth of its
    shorter side if that is less.
    """
    height, width = (2 * side // 3 for side in photo.shape[:2])
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    alone = paint(np.ascontiguousarray(photo[top : top + height, left : left + width]))
    margin = min(CROP_MARGIN_PX, min(height, width) // 8)
    inner = (slice(margin, height - margin), slice(margin, width - margin))
    return mean_difference(alone[inner], picture[top : top + height, left : left + width][inner])


def mean_difference(a: Pixels, b: Pixels) -> float:
    """Return the mean absolute difference of two pictures of one size, in grey levels."""
    return float(np.abs(a.astype(np.int16) - b).mean())


def _with_pixels(photo: Pixels, pixels: int) -> Pixels:
    height, width = photo.shape[:2]
    scale = sqrt(pixels / (height * width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
