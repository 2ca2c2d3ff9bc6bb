"""A photo becomes a picture in strokes of a size, or of several sizes.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Callable

import numpy as np

from nst_core.inference.forms import Levels, clouds, with_forms
from nst_core.inference.regions import EVERYWHERE, paint_region, seen
from nst_core.inference.strokes import Stroke, StrokeSize, carried_over, copy_to_paint, fine_stroke, painted_size
from nst_core.inference.stylizer import Pixels
from nst_core.inference.varied_strokes import LAYERS, layer_weights

#: A network: it paints an H x W x 3 photo, and its strokes have a size in pixels.
Paint = Callable[[Pixels], Pixels]


def in_strokes(
    photo: Pixels,
    stroke: Stroke | None,
    paint: Paint,
    *,
    forms: Levels | None = None,
    strength: float = 1.0,
    min_side_px: int = 1,
) -> Pixels:
    """Return an H x W x 3 photo in strokes of a size; None: as the network paints them.

    The network is called for copies of the photo, none of whose sides is shorter than `min_side_px` unless the photo's
    own is: once, or for `varied` up to once for each size. `forms` are what it sees in flat parts; None are clouds with
    `varied`, and else nothing. `strength` is how strongly the network paints, and forms are seen, 0 to 1.
    """
    if stroke != "varied":
        return _of_one_size(photo, stroke, _seeing(forms, strength, paint), min_side_px)
    fine, weights = fine_stroke(*photo.shape[:2]), layer_weights(photo)
    if forms is None:
        forms = clouds(255 - weights[0])
    paint = _seeing(forms, strength, paint)
    (lowest, _), *others = seen((EVERYWHERE, *weights))
    result = _of_one_size(photo, fine * LAYERS[lowest], paint, min_side_px)
    for layer, share in others:
        result = paint_region(result, _of_one_size(photo, fine * LAYERS[layer], paint, min_side_px), [share])
    return result


def _seeing(forms: Levels | None, strength: float, paint: Paint) -> Paint:
    """Return a network that sees forms in a photo, or in a copy of it."""
    if forms is None:
        return paint
    levels = np.rint(forms * strength).astype(np.int16)
    return lambda copy: paint(with_forms(copy, levels))


def _of_one_size(photo: Pixels, stroke: StrokeSize | None, paint: Paint, min_side_px: int) -> Pixels:
    height, width = photo.shape[:2]
    copy = copy_to_paint(photo, painted_size(height, width, stroke, min_side_px=min_side_px))
    return carried_over(photo, copy, paint(copy))
