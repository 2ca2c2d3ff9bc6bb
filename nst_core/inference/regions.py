"""Several styles in one picture: regions in styles of their own lie over the picture of another style.

Each style paints the whole photo, one after the other, so that a region is what the photo would be in its style alone.
Where regions meet, each pixel goes to the last of them as far as its weight goes, what is left of the pixel to the one
before, and so on; the lowest style gets the rest. So the one below shows where a region has a soft edge, and nothing of
the lowest style shows between two regions whose weights add up to the whole.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Sequence

import numpy as np

from nst_core.inference.blend import Weight, bands, stretched
from nst_core.inference.stylizer import Pixels

#: The weight of a style that is everywhere.
EVERYWHERE: Weight = np.full((1, 1), 255, np.uint8)


def seen(weights: Sequence[Weight | None]) -> list[tuple[int, Weight]]:
    """Return the indexes of those styles that are seen, the lowest first, with their weights; one is 255 everywhere.

    A style without a weight is nowhere. Weights may be of any size; see `blend.blend`.
    """
    order = [(place, weight) for place, weight in enumerate(weights) if weight is not None and weight.any()]
    lowest = max(place for place, weight in order if weight.min() == 255)
    return [(place, weight) for place, weight in order if place >= lowest]


def paint_region(below: Pixels, painted: Pixels, weights: Sequence[Weight]) -> Pixels:
    """Return the picture of the styles below a region with the region, in the memory of `below`.

    All pictures are H x W x 3. `weights` are that of the region, and those of the regions above it. They are stretched
    to the pictures.
    """
    result = np.require(below, requirements=["C", "W"])
    for rows in bands(result):
        own, *above = (stretched(weight, rows, result.shape) for weight in weights)
        left = np.maximum(255 - sum(above, start=np.zeros_like(own)), 0)
        # Of what is left of a pixel for this region and those below it. Without any it does not matter.
        share = np.minimum(own, left) / np.maximum(left, 1)
        for channel in range(3):
            before = result[rows, :, channel].astype(np.float32)
            result[rows, :, channel] = np.rint(before + (painted[rows, :, channel] - before) * share)
    return result
