"""A photo becomes a picture in strokes of a size, or of several sizes.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Callable

import numpy as np

from nst_core.inference.blend import Weight, blend
from nst_core.inference.forms import Levels, clouds, with_forms
from nst_core.inference.strokes import Stroke, carried_over, copy_to_paint, fine_stroke, painted_size
from nst_core.inference.stylizer import Pixels
from nst_core.inference.varied_strokes import LAYERS, Ground

#: A network: it paints an H x W x 3 photo, and its strokes have a size in pixels.
Paint = Callable[[Pixels], Pixels]
#: So many pixels that the photo has at its edges are repeated beyond them, painted, and cut off. Networks smear what is
#: at an edge, or draw a frame there as their painting has one, since each layer repeats its own input.
_MARGIN_PX = 16


def in_strokes(
    photo: Pixels,
    stroke: Stroke | None,
    paint: Paint,
    *,
    forms: Levels | None = None,
    broad: Weight | None = None,
    strength: float = 1.0,
    min_side_px: int = 1,
) -> Pixels:
    """Return an H x W x 3 photo in strokes of a size; None: as the network paints them.

    The network is called for copies of the photo, none of whose sides is shorter than `min_side_px` unless the photo's
    own is: once, or for `varied` up to once for each layer. For strokes that have a name, the copies have a margin.
    `forms` are what the network sees in flat parts; None are clouds with `varied`, and else nothing. `broad` says where
    `varied` has layers and clouds, 0 to 255 and of any size; None is everywhere. `strength` is how strongly the network
    paints, and forms are seen, 0 to 1.
    """
    height, width = photo.shape[:2]
    if isinstance(stroke, str):
        paint = _beyond_edges(paint)
    if stroke != "varied":
        copy = copy_to_paint(photo, painted_size(height, width, stroke, min_side_px=min_side_px))
        return carried_over(photo, copy, _seeing(forms, strength, paint)(copy))
    ground = Ground.of(photo, broad)
    paint = _seeing(clouds(ground.flat) if forms is None else forms, strength, paint)
    fine = fine_stroke(height, width)
    sizes = (painted_size(height, width, fine * layer, min_side_px=min_side_px) for layer in LAYERS)
    first, *others = dict.fromkeys(sizes)  # those of a small photo may be the same
    copy = copy_to_paint(photo, first)
    picture = paint(copy)
    for size in others:
        copy = copy_to_paint(photo, size)
        picture = paint(blend(copy, copy_to_paint(picture, size), weight=ground.seen))
    return carried_over(photo, copy, picture)


def margin(side_px: int) -> int:
    """Return the pixels beyond each end of a side of a copy: few for a short one, not to take most of the time."""
    return min(_MARGIN_PX, side_px // 4)


def _beyond_edges(paint: Paint) -> Paint:
    """Return a network that sees mirrored pixels around a photo, or around a copy of it."""

    def paint_more(copy: Pixels) -> Pixels:
        height, width = copy.shape[:2]
        down, across = margin(height), margin(width)
        more = np.pad(copy, ((down, down), (across, across), (0, 0)), mode="reflect")
        return np.ascontiguousarray(paint(more)[down : down + height, across : across + width])

    return paint_more


def _seeing(forms: Levels | None, strength: float, paint: Paint) -> Paint:
    """Return a network that sees forms in a photo, or in a copy of it."""
    if forms is None:
        return paint
    levels = np.rint(forms * strength).astype(np.int16)
    return lambda copy: paint(with_forms(copy, levels))
