"""The luminance of pictures as bytes. Never loads torch, and gives the same numbers on every processor."""

import numpy as np
import numpy.typing as npt

from nst_core.inference.stylizer import Pixels

#: Luminance is counted in thousandths of a grey level, so that it is an integer.
PARTS = 1000


def luminance(picture: Pixels) -> npt.NDArray[np.int32]:
    """Return Y of YIQ and YCbCr (ITU-R BT.601) of an H x W x 3 picture, 0 to 255 `PARTS`."""
    red, green, blue = np.moveaxis(picture.astype(np.int32), 2, 0)
    return np.asarray(299 * red + 587 * green + 114 * blue, np.int32)


def grey_levels(picture: Pixels) -> npt.NDArray[np.float32]:
    """Return Y of an H x W x 3 picture as H x W, 0 to 255."""
    return luminance(picture).astype(np.float32) / np.float32(PARTS)
