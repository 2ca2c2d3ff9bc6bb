"""Large soft forms in the flat parts of a photo, for the network to paint.

Where a photo is flat, as in a sky, a network has nothing to begin a stroke with but its grain (`nets/grain.py`), and
covers the area with one small mark. A painter puts a few large forms there. So the network sees faint forms in these
parts: clouds, of which it makes swirls or waves, or planes (`planes`). Clouds are the same in every photo and at every
size of it, in proportion to its longer side.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.inference.blend import Weight, bands
from nst_core.inference.stylizer import Pixels
from nst_core.nets.grain import blurred

#: The side of the square of clouds, in the pixels of weights; see `clouds`.
SIDE_PX = 320
#: The deviation of each kind of clouds, in grey levels.
_DEVIATION = 10.0
#: For each kind, rows and columns over which random numbers are averaged, twice: about 20 x 40 and 60 x 110 pixels in a
#: photo of 640. Clouds are broader than high.
_BLURS = ((9, 17), (27, 51))
_SEED = 11
_NONE = 128

Levels = npt.NDArray[np.int16]
#: Flat parts stay as they are.
NO_FORMS: Levels = np.zeros((1, 1), np.int16)


def with_forms(photo: Pixels, levels: Levels) -> Pixels:
    """Return an H x W x 3 photo with forms: grey levels, -128 to 127, H' x W', stretched to its size and added."""
    if not levels.any():
        return photo
    stretched = Image.fromarray((levels + _NONE).astype(np.uint8)).resize(photo.shape[1::-1], Image.Resampling.BICUBIC)
    added, result = np.asarray(stretched), np.empty_like(photo, order="C")
    for rows in bands(photo):
        values = photo[rows] + (added[rows].astype(np.int16) - _NONE)[:, :, None]
        np.clip(values, 0, 255, out=result[rows], casting="unsafe")
    return result


def clouds(flat: Weight) -> Levels:
    """Return clouds for the flat parts of a photo: 255 in `flat`, whose sides are at most `SIDE_PX`.

    Their longer side is `SIDE_PX`, so that clouds are as large in relation to a small photo as to a large one.
    """
    height, width = (max(1, round(side * SIDE_PX / max(flat.shape))) for side in flat.shape)
    flat = np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.BICUBIC))
    return np.rint(_clouds()[:height, :width] * (flat / np.float64(255))).astype(np.int16)


@cache
def _clouds() -> npt.NDArray[np.float64]:
    """Return the clouds in grey levels, SIDE_PX x SIDE_PX, with mean 0."""
    raw = np.random.PCG64(_SEED).random_raw(len(_BLURS) * SIDE_PX * SIDE_PX) >> np.uint64(56)
    total = np.zeros((SIDE_PX, SIDE_PX))
    for values, blur in zip(raw.astype(np.int64).reshape(-1, SIDE_PX, SIDE_PX) - 128, _BLURS, strict=True):
        # Whole numbers up to here, whose sums do not depend on their order.
        values = blurred(values, *blur)
        mean = int(values.sum()) / values.size
        deviation = (int(np.square(values).sum()) / values.size - mean**2) ** 0.5
        total += (values - mean) * (_DEVIATION / deviation)
    total.flags.writeable = False
    return total
