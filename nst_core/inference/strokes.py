"""Strokes of another size than the network paints: it paints a smaller or larger copy, and the change is carried over.

A network paints strokes of some pixels, whatever the size of the photo, so that little style is left of a large one.
With a stroke of 2 the network paints a copy with half the photo's sides, where strokes are twice as large in relation
to the picture. What it changed then goes back to the photo's size, and the photo's finest lines return as strongly as
the painting has kept lines of their place.

That is the guided filter of He, Sun, Tang, "Guided Image Filtering" (2010), section 3, in its fast form (He, Sun,
2015): a local linear model of the painted copy in terms of the copy, whose coefficients are enlarged. Departures: one
factor for all three channels, from luminance, and what the model leaves unexplained, the strokes, is enlarged too.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from functools import partial
from math import ceil, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.inference.luminance import grey_levels
from nst_core.inference.row_ranges import Rows, strips
from nst_core.inference.stylizer import Pixels

#: A number; "auto": the same picture at every size, that of a photo of `REFERENCE_PIXELS`; "fine": see `fine_stroke`.
StrokeSize = float | Literal["auto", "fine"]
#: A size, or "varied": several sizes in one picture; see `varied_strokes`.
Stroke = StrokeSize | Literal["varied"]
SMALLEST, LARGEST = 0.5, 4.0
REFERENCE_PIXELS = 1_000_000
#: The model holds in squares of 2 r + 1 pixels of the copy; a variance of luminance that is lower counts as noise.
_RADIUS, _NOISE = 2, 100.0
#: Lines come back weaker or at most a little stronger than they are in the photo, never inverted.
_MOST = 1.2
#: The change is carried over in strips of so many pixels, and rows at least, so that it takes some tens of megabytes.
_STRIP_PIXELS, _LEAST_ROWS = 2**20, 16
#: A bicubic filter that enlarges reads two rows on either side of a place, and one more in case of rounding.
_READ_ROWS = 3
_NO_LIMIT = 2**62

_Floats = npt.NDArray[np.float32]


def painted_size(height: int, width: int, stroke: StrokeSize | None, *, min_side_px: int = 1) -> tuple[int, int]:
    """Return height and width of the copy that the network paints; those of the photo for a stroke of 1 or None."""
    if stroke is None:
        return height, width
    if stroke == "auto":
        factor = max(SMALLEST, sqrt(height * width / REFERENCE_PIXELS))
    else:
        factor = fine_stroke(height, width) if stroke == "fine" else stroke
    # No side may become too small for the network, unless the photo's own is.
    factor = min(factor, max(1.0, min(height, width) / min_side_px))
    return max(1, round(height / factor)), max(1, round(width / factor))


def fine_stroke(height: int, width: int) -> float:
    """Return the size of fine strokes in a photo: as the network paints, from a megapixel on in relation to it."""
    return max(1.0, sqrt(height * width / REFERENCE_PIXELS))


def largest_photo(painted_pixels: int, stroke: Stroke | None) -> int:
    """Return how many pixels a photo may have if the network can paint `painted_pixels`."""
    if isinstance(stroke, str):
        return painted_pixels if painted_pixels < REFERENCE_PIXELS else _NO_LIMIT
    return painted_pixels if stroke is None else int(painted_pixels * stroke**2)


def copy_to_paint(photo: Pixels, size: tuple[int, int]) -> Pixels:
    """Return an H x W x 3 photo in another size; the photo itself if it has that size."""
    height, width = size
    if photo.shape[:2] == size:
        return photo
    smaller = height < photo.shape[0]
    way = Image.Resampling.LANCZOS if smaller else Image.Resampling.BICUBIC
    result = np.empty((height, width, 3), np.uint8)
    # One after the other: for all channels, Pillow takes more memory than photo and copy.
    for channel in range(3):
        image = Image.fromarray(photo[..., channel])
        image = image.resize((width, height), way, reducing_gap=3.0 if smaller else None)
        result[..., channel] = np.asarray(image)
    return result


def carried_over(photo: Pixels, copy: Pixels, painted: Pixels) -> Pixels:
    """Return the H x W x 3 photo, painted as its copy is; the painted copy itself if it has the photo's size."""
    height, width = photo.shape[:2]
    if copy.shape == photo.shape:
        return painted
    if copy.shape[0] > height:
        return copy_to_paint(painted, (height, width))
    if width > _STRIP_PIXELS // _LEAST_ROWS:
        # Painted on its side, since strips of such rows would be large.
        turned = carried_over(*(each.swapaxes(0, 1) for each in (photo, copy, painted)))
        return np.ascontiguousarray(turned.swapaxes(0, 1))
    result = np.empty_like(photo, order="C")
    for rows in strips(height, max(_LEAST_ROWS, _STRIP_PIXELS // width)):
        # Pillow takes places in float32. Less a number of whole rows they stay exact, so that the copy can be cut.
        top, bottom = (float(np.float32(row * copy.shape[0] / height)) for row in (rows.first, rows.end))
        source, _ = Rows(int(top) - _READ_ROWS, ceil(bottom) + _READ_ROWS).within(copy.shape[0])
        enlarged = partial(
            _enlarged,
            part=(top - source.first, bottom - source.first),
            size=(width, len(rows)),
            # The order of Pillow 13 for a strip of the whole copy: with another one, last bits are others.
            down_first=copy.shape[0] > len(rows),
        )
        below, above = (each[source.first : source.end] for each in (copy, painted))
        # painted = factor * copy + rest, and so for the photo.
        factor = _factor(copy, painted, source)
        large_factor = enlarged(factor)
        for channel in range(3):
            rest = enlarged(above[..., channel] - factor * below[..., channel])
            values = rest + large_factor * photo[rows.first : rows.end, :, channel]
            result[rows.first : rows.end, :, channel] = np.rint(np.clip(values, 0, 255))
    return result


def _enlarged(values: _Floats, *, part: tuple[float, float], size: tuple[int, int], down_first: bool) -> _Floats:
    """Return `part` of some values, from a row to another one, in a size, width x height."""
    image, (width, height) = Image.fromarray(values), size
    for down in (down_first, not down_first):
        if down:
            box = (0.0, part[0], float(image.width), part[1])
            image = image.resize((image.width, height), Image.Resampling.BICUBIC, box=box)
        else:
            image = image.resize((width, image.height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _factor(copy: Pixels, painted: Pixels, rows: Rows) -> _Floats:
    """Return the kept lines of some rows of a copy."""
    # Means around means: so many rows on either side count.
    around, _ = Rows(rows.first - 2 * _RADIUS, rows.end + 2 * _RADIUS).within(copy.shape[0])
    kept = _kept_lines(*(grey_levels(each[around.first : around.end]) for each in (copy, painted)))
    return kept[rows.first - around.first : rows.end - around.first]


def _kept_lines(copy: _Floats, painted: _Floats) -> _Floats:
    """Return for each pixel how strongly lines of the copy are in the painting, 0 to a little above 1."""
    mean, painted_mean = mean_around(copy), mean_around(painted)
    covariance = mean_around(copy * painted) - mean * painted_mean
    variance = np.maximum(mean_around(copy * copy) - mean * mean, 0)
    kept: _Floats = (covariance / (variance + _NOISE)).astype(np.float32)
    return np.clip(mean_around(kept), 0, _MOST)


def mean_around(values: _Floats, radius: int = _RADIUS) -> _Floats:
    """Return the mean of the square of 2 r + 1 pixels around each pixel; the edge is repeated."""
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (radius, radius)
        padded = np.pad(values, padding, mode="edge")
        length, along = values.shape[axis], np.moveaxis(padded, axis, 0)
        shifted = [along[start : start + length] for start in range(2 * radius + 1)]
        mean = np.asarray(sum(shifted) / np.float32(len(shifted)), np.float32)
        values = np.moveaxis(mean, 0, axis)
    return values
