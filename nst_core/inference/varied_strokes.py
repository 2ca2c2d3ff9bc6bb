"""Strokes of several sizes in one picture: broad ones where a photo has little to tell, fine ones where it has much.

Painters work so, and a network does not: it covers a sky with the same small marks as a face. So it paints the photo in
three sizes of strokes, and each part of the picture comes from one of them, the broadest that its lines allow. That is
the order of Hertzmann, "Painterly Rendering with Curved Brush Strokes of Multiple Sizes" (1998), from a coarse picture
to a fine one, with the contrast of the photo as the measure instead of a difference.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from nst_core.inference.blend import Weight
from nst_core.inference.luminance import grey_levels
from nst_core.inference.strokes import mean_around
from nst_core.inference.stylizer import Pixels

#: How many times as large as the fine strokes those of each layer are, the first of which lies lowest. Broader ones
#: were soft: they are painted in a copy that is as many times smaller.
LAYERS = (2.5, 1.6, 1.0)
#: The longer side of the copy in which contrast is measured, so that it does not depend on the size of the photo.
_MEASURED_PX = 320
#: For the layers over the lowest one: the contrast from which on they are seen, that at which nothing below is, and the
#: radius in pixels of the copy in which it is measured. It is the deviation of the square root of luminance, 0 to 255,
#: so that dark faces count as much as light ones.
_CONTRASTS = ((2.5, 7.0, 7), (5.0, 16.0, 3))


def layer_weights(photo: Pixels) -> tuple[Weight, ...]:
    """Return where each of `LAYERS` but the lowest lies over those below, for an H x W x 3 photo; of any size."""
    image = Image.fromarray(photo)
    image.thumbnail((_MEASURED_PX, _MEASURED_PX), Image.Resampling.BOX)
    grey = np.sqrt(255 * grey_levels(np.asarray(image)))
    weights: list[Weight] = []
    for least, most, radius in _CONTRASTS:
        mean = mean_around(grey, radius)
        deviation = np.sqrt(np.maximum(mean_around(grey * grey, radius) - mean * mean, 0))
        share = np.clip((deviation - least) / (most - least), 0, 1)
        weights.append(_widened(np.rint(255 * share).astype(np.uint8), radius))
    middle, fine = weights
    return np.maximum(middle, fine), fine


def _widened(weight: npt.NDArray[np.uint8], radius: int) -> Weight:
    """Return a weight that reaches a little further, with soft edges."""
    image = Image.fromarray(weight).filter(ImageFilter.MaxFilter(radius | 1))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))
