"""Strokes of several sizes in one picture: broad ones first, finer ones over them.

Painters work so, and a network does not: it covers a sky with the same small marks as a face, each of them drawn after
a line of the photo, and nothing in the picture is larger. So it paints a small copy of the photo first, where strokes
are broad. That picture is enlarged, and a larger copy of the photo is laid over it so thinly that the network sees
both, and paints its next strokes after them. What was broad stays, and becomes crisp. The order is that of Hertzmann,
"Painterly Rendering with Curved Brush Strokes of Multiple Sizes" (1998), from a coarse picture to a fine one; with the
contrast of the photo as the measure of what is laid over, instead of a difference.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from nst_core.inference.blend import Weight, stretched
from nst_core.inference.luminance import grey_levels
from nst_core.inference.strokes import mean_around
from nst_core.inference.stylizer import Pixels

#: How many times as large as the fine strokes those of each layer are, in the order in which they are painted.
LAYERS = (4.0, 2.0, 1.0)
#: How much the network sees of the layer below, beside the photo: in flat parts, where there is some contrast, and
#: along fine lines. With all of it, things of the photo get lost.
_SEEN = (0.75, 0.5, 0.25)
#: The longer side of the copy in which contrast is measured, so that it does not depend on the size of the photo.
_MEASURED_PX = 320
#: For some contrast, and for fine lines: the contrast at which a part begins to count as such, that from which on it
#: does fully, and the radius in pixels of the copy in which it is measured. It is the deviation of the square root of
#: luminance, 0 to 255, so that dark faces count as much as light ones.
_CONTRASTS = ((2.5, 7.0, 7), (5.0, 16.0, 3))


@dataclass(frozen=True)
class Ground:
    """What lies under the finer strokes of a photo, H' x W' to be stretched to it, 0 to 255."""

    #: Where the photo is flat.
    flat: Weight
    #: How much of the layer below the network sees, beside the photo.
    seen: Weight

    @classmethod
    def of(cls, photo: Pixels, broad: Weight | None = None) -> "Ground":
        """Return the ground of an H x W x 3 photo of any size.

        `broad` says where strokes may be broad, 0 to 255, of any size; None is everywhere. Elsewhere, as on faces, the
        network paints as if there were no layers.
        """
        some, fine = (weight.astype(np.int32) for weight in contrasts(photo))
        flat = 255 - some
        in_flat, in_some, in_fine = (round(255 * share) for share in _SEEN)
        seen = in_flat + ((in_some - in_flat) * some + (in_fine - in_some) * fine) // 255
        if broad is not None:
            allowed = stretched(broad, slice(0, flat.shape[0]), flat.shape).astype(np.int32)
            flat, seen = flat * allowed // 255, seen * allowed // 255
        return cls(flat.astype(np.uint8), seen.astype(np.uint8))


def contrasts(photo: Pixels) -> tuple[Weight, Weight]:
    """Return where an H x W x 3 photo has some contrast, and where it has fine lines; those have both."""
    image = Image.fromarray(photo)
    image.thumbnail((_MEASURED_PX, _MEASURED_PX), Image.Resampling.BOX)
    grey = np.sqrt(255 * grey_levels(np.asarray(image)))
    weights: list[Weight] = []
    for least, most, radius in _CONTRASTS:
        mean = mean_around(grey, radius)
        deviation = np.sqrt(np.maximum(mean_around(grey * grey, radius) - mean * mean, 0))
        share = np.clip((deviation - least) / (most - least), 0, 1)
        weights.append(_widened(np.rint(255 * share).astype(np.uint8), radius))
    some, fine = weights
    return np.maximum(some, fine), fine


def _widened(weight: npt.NDArray[np.uint8], radius: int) -> Weight:
    """Return a weight that reaches a little further, with soft edges."""
    image = Image.fromarray(weight).filter(ImageFilter.MaxFilter(radius | 1))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))
