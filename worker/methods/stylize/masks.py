"""Masks: pictures that say where photos are painted."""

import numpy as np

from nst_core.decoding import decoder
from nst_core.errors import ImageError
from nst_core.images import Limits
from nst_core.inference.blend import Weight
from nst_core.inference.luminance import PARTS, luminance

#: Longest side of a mask in memory; larger ones are reduced. It is stretched to each photo in any case.
_MOST_PX = 4096


def decode_mask(data: bytes, *, max_pixels: int) -> Weight:
    """Return the luminance of a mask's file, without its opacity, as a weight for `blend`.

    A file that cannot be used is the ImageError of a photo with such a file.
    """
    limits = Limits(max_pixels=max_pixels, max_px=_MOST_PX, ignore_alpha=True)
    try:
        picture = decoder.decode(data, limits)
    except ImageError as error:
        raise type(error)(f"The mask cannot be used: {error.message}") from error
    return ((luminance(picture.rgb) + PARTS // 2) // PARTS).astype(np.uint8)
