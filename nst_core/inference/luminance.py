"""The luminance of pictures as bytes. Never loads torch, and gives the same numbers on every processor."""

import numpy as np
import numpy.typing as npt

from nst_core.inference.stylizer import Pixels

#: Luminance is counted in parts of a grey level, so that it is an integer, in 16 bits.
PARTS = 256


def luminance(picture: Pixels) -> npt.NDArray[np.uint16]:
    """Return Y of YIQ and YCbCr (ITU-R BT.601, rounded to 1 / 256) of an H x W x 3 picture, 0 to 255 `PARTS`."""
    red, green, blue = (picture[..., channel].astype(np.uint16) for channel in range(3))
    return np.asarray(77 * red + 150 * green + 29 * blue, np.uint16)


def grey_levels(picture: Pixels) -> npt.NDArray[np.float32]:
    """Return Y of an H x W x 3 picture as H x W, 0 to 255."""
    return np.asarray(luminance(picture) / np.float32(PARTS), np.float32)
