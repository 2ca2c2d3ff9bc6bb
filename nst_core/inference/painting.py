"""A photo becomes a picture in strokes of a size, or of several sizes.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Callable

from nst_core.inference.forms import with_forms
from nst_core.inference.regions import EVERYWHERE, paint_region, seen
from nst_core.inference.strokes import Stroke, StrokeSize, carried_over, copy_to_paint, painted_size
from nst_core.inference.stylizer import Pixels
from nst_core.inference.varied_strokes import LAYERS, fine_stroke, layer_weights

#: A network: it paints an H x W x 3 photo, and its strokes have a size in pixels.
Paint = Callable[[Pixels], Pixels]


def in_strokes(photo: Pixels, stroke: Stroke | None, paint: Paint, *, min_side_px: int = 1) -> Pixels:
    """Return an H x W x 3 photo in strokes of a size; None: as the network paints them.

    The network is called for copies of the photo, none of whose sides is shorter than `min_side_px` unless the photo's
    own is: once, or for `varied` up to once for each size. For `varied` it also sees large forms in flat parts; see
    `forms`.
    """
    if stroke != "varied":
        return _of_one_size(photo, stroke, paint, min_side_px)
    fine, weights = fine_stroke(*photo.shape[:2]), layer_weights(photo)
    flat = 255 - weights[0]

    def painted(layer: int) -> Pixels:
        return _of_one_size(photo, fine * LAYERS[layer], lambda copy: paint(with_forms(copy, flat)), min_side_px)

    (lowest, _), *others = seen((EVERYWHERE, *weights))
    result = painted(lowest)
    for layer, weight in others:
        result = paint_region(result, painted(layer), [weight])
    return result


def _of_one_size(photo: Pixels, stroke: StrokeSize | None, paint: Paint, min_side_px: int) -> Pixels:
    height, width = photo.shape[:2]
    copy = copy_to_paint(photo, painted_size(height, width, stroke, min_side_px=min_side_px))
    return carried_over(photo, copy, paint(copy))
