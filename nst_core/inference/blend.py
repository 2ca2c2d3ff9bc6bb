"""The painted picture and the photo become the result: how strongly, in whose colours, and where.

Works in bands of rows, so that large photos need little more memory than photo and painting. Never loads torch: it runs
beside the network on other threads, and gives the same bytes on every processor.
"""

from dataclasses import dataclass
from math import fsum, sqrt
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.errors import ConfigError
from nst_core.inference.luminance import PARTS, grey_levels, luminance
from nst_core.inference.row_ranges import strips
from nst_core.inference.strokes import mean_around
from nst_core.inference.stylizer import Pixels

_BAND_PIXELS = 2**18
#: Fine lines are lost in the mean of some 10 x 10 cells, whose sides are a share of the picture's, or so many pixels.
_CELLS, _LEAST_CELL = 128, 6
#: From this strength on all strokes are there as they were painted.
_ALL_STROKES = 2 / 3
#: Contrast is raised to at most this much of the painting's.
_MOST_GAIN = 2.0
#: Luminance that is so near to black or white is compressed.
_SOFT = 48.0
#: How often the range of possible offsets is halved, to less than a thousandth of a grey level.
_HALVINGS = 24
_TINY = 1e-3

#: How strongly each pixel is painted: 0 is the photo, 255 the painted picture.
Weight = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]
_AnyFloats = TypeVar("_AnyFloats", npt.NDArray[np.float32], npt.NDArray[np.float64])


def blend(
    photo: Pixels,
    painted: Pixels,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
    weight: Weight | None = None,
) -> Pixels:
    """Return the result of an H x W x 3 photo and its painted picture, whose memory is used for the result.

    `strength` goes from 0, the photo, to 1, the painted picture; see `_weaken`. `preserve_color` keeps the photo's
    colours and its light; see `_Light`. `weight` says where: a picture of one channel and any size, which is stretched
    to that of the photo; 255 is what `strength` and `preserve_color` make, and 0 is the photo. Raises ConfigError for
    another strength, shape or type.
    """
    _check(photo, painted, strength, weight)
    if strength == 1.0 and not preserve_color and weight is None:
        return painted
    if strength == 0.0:
        return photo
    result = np.require(painted, requirements=["C", "W"])
    if preserve_color:
        _keep_colors(photo, result)
    if strength < 1.0:
        _weaken(photo, result, strength)
    if weight is not None:
        _cover(photo, result, weight)
    return result


def _cover(photo: Pixels, result: Pixels, weight: Weight) -> None:
    """Let a painted picture show where the weight says, and the photo elsewhere."""
    for rows in bands(photo):
        share = stretched(weight, rows, photo.shape) / np.float32(255)
        for channel in range(3):
            before = photo[rows, :, channel].astype(np.float32)
            result[rows, :, channel] = np.rint(before + (result[rows, :, channel] - before) * share)


def _keep_colors(photo: Pixels, result: Pixels) -> None:
    """Give a painted picture the photo's colours; see `_Light`."""
    light = _Light.of(photo, result)
    greys = light.grey(np.arange(255 * PARTS + 1, dtype=np.float32) / np.float32(PARTS))
    for rows in bands(photo):
        grey, level = greys[luminance(result[rows])], grey_levels(photo[rows])
        to_white = 255 - grey
        colors = [photo[rows, :, channel] - level for channel in range(3)]
        share = np.ones_like(grey)
        for color in colors:
            room = np.where(color > 0, to_white, grey)
            np.minimum(share, room / np.maximum(np.abs(color), np.float32(_TINY)), out=share)
        for channel, color in enumerate(colors):
            result[rows, :, channel] = np.rint(grey + color * share)


def _weaken(photo: Pixels, result: Pixels, strength: float) -> None:
    """Bring a painted picture nearer to the photo, in two bands.

    Soft colours follow the strength. Fine lines, which are the photo's texture or strokes, change over early and within
    a short range: where both are there at once, a picture looks like a double exposure.
    """
    softness = max(_LEAST_CELL, max(photo.shape) // _CELLS)
    soft = [Image.fromarray(channel) for channel in np.moveaxis(_soft_change(photo, result, softness), 2, 0)]
    reached = min(1.0, strength / _ALL_STROKES)
    fine = np.float32(reached * reached * (3 - 2 * reached))
    width = photo.shape[1]
    for rows in bands(photo):
        part = (0.0, rows.start / softness, width / softness, rows.stop / softness)
        size = (width, rows.stop - rows.start)
        for channel, small in enumerate(soft):
            before = photo[rows, :, channel].astype(np.float32)
            large = np.asarray(small.resize(size, Image.Resampling.BICUBIC, box=part))
            values = before + fine * (result[rows, :, channel] - before) + (np.float32(strength) - fine) * large
            result[rows, :, channel] = np.rint(np.clip(values, 0, 255))


def _soft_change(photo: Pixels, painted: Pixels, cell: int) -> _Floats:
    """Return the change of colours without fine lines, a pixel for each cell x cell pixels: H' x W' x 3."""
    height, width = photo.shape[:2]
    tops, lefts = (np.arange(0, side, cell) for side in (height, width))
    sums = np.zeros((len(tops), len(lefts), 3), np.int32)
    for rows in bands(photo):
        change = np.subtract(painted[rows], photo[rows], dtype=np.int16)
        # A band may begin and end within cells: in a wide photo, these are high.
        cells = slice(rows.start // cell, (rows.stop - 1) // cell + 1)
        of_rows = np.add.reduceat(change, np.maximum(tops[cells] - rows.start, 0), 0, dtype=np.int32)
        sums[cells] += np.add.reduceat(of_rows, lefts, 1)
    counts = np.outer(*(np.minimum(cell, side - starts) for side, starts in ((height, tops), (width, lefts))))
    mean = sums.astype(np.float32) / counts[..., None].astype(np.float32)
    return np.stack([mean_around(mean_around(channel)) for channel in np.moveaxis(mean, 2, 0)], 2)


@dataclass(frozen=True)
class _Light:
    """The light in which a painting has the photo's colours: its own luminance, matched to the photo's.

    Gatys, Bethge, Hertzmann, Shechtman, "Preserving Color in Neural Artistic Style Transfer" (2016), section 3.2.
    Departures: there the luminance of the style picture is matched before the painting is made; here that of the
    painting is, so that one network serves photos of any light. Contrast is at most doubled. Luminance near black and
    white is compressed, and a colour that would leave the range of bytes becomes paler, where both would be cut off.
    """

    gain: float
    offset: float
    #: Luminance beyond these is compressed.
    low: float
    high: float

    @classmethod
    def of(cls, photo: Pixels, painted: Pixels) -> "_Light":
        """Measure both pictures as a whole."""
        mean, deviation = _moments(_histogram(photo))
        counts = _histogram(painted)
        gain = min(_MOST_GAIN, deviation / max(_moments(counts)[1], 1.0))
        low, high = min(_SOFT, mean / 2), max(255 - _SOFT, (255 + mean) / 2)
        # Compression moves the mean, so the offset is searched for: the mean rises with it.
        least, most = -255.0 * (_MOST_GAIN + 1), 255.0 * 2
        levels = np.arange(256.0)
        for _ in range(_HALVINGS):
            light = cls(gain=gain, offset=(least + most) / 2, low=low, high=high)
            if _mean(counts, light.grey(levels)) < mean:
                least = light.offset
            else:
                most = light.offset
        return light

    def grey(self, levels: _AnyFloats) -> _AnyFloats:
        """Return the luminance of the result for that of the painted picture."""
        values = levels * self.gain + self.offset
        over = np.maximum(values - self.high, 0)
        under = np.maximum(self.low - values, 0)
        above, below = max(255 - self.high, _TINY), max(self.low, _TINY)
        inner = np.clip(values, self.low, self.high)
        compressed: _AnyFloats = inner + above * over / (above + over) - below * under / (below + under)
        return compressed


def _check(photo: Pixels, painted: Pixels, strength: float, weight: Weight | None) -> None:
    if not 0.0 <= strength <= 1.0:
        raise ConfigError(f"strength must be from 0 to 1, not {strength!r}.")
    for picture in (photo, painted):
        if picture.ndim != 3 or picture.shape != (*photo.shape[:2], 3) or picture.dtype != np.uint8:
            raise ConfigError(f"Photo and painted picture must be H x W x 3 of uint8, not {picture.shape}.")
    if weight is not None and (weight.ndim != 2 or weight.dtype != np.uint8 or not weight.size):
        raise ConfigError(f"The weight must be H x W of uint8, not {weight.shape} of {weight.dtype}.")


def _histogram(picture: Pixels) -> npt.NDArray[np.int64]:
    """Return how many pixels have each luminance, 0 to 255. Integers, so that no sum depends on its order."""
    counts = np.zeros(256, np.int64)
    for rows in bands(picture):
        levels = (luminance(picture[rows]) + PARTS // 2) // PARTS
        counts += np.bincount(levels.ravel(), minlength=256)
    return counts


def _moments(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of a histogram."""
    mean = _mean(counts, np.arange(256.0))
    return mean, sqrt(_mean(counts, (np.arange(256.0) - mean) ** 2))


def _mean(counts: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> float:
    """Return the mean of the values of each bin."""
    return fsum(counts * values) / int(counts.sum())


def bands(picture: Pixels) -> list[slice]:
    """Return the rows of a picture in bands."""
    rows = max(1, _BAND_PIXELS // picture.shape[1])
    return [slice(part.first, part.end) for part in strips(picture.shape[0], rows)]


def stretched(weight: Weight, rows: slice, shape: tuple[int, ...]) -> _Floats:
    """Return the weight of some rows of a picture of a shape, H x W, 0 to 255."""
    height, width = shape[:2]
    scale = weight.shape[0] / height
    part = (0.0, rows.start * scale, float(weight.shape[1]), min(rows.stop * scale, weight.shape[0]))
    picture = Image.fromarray(weight).resize((width, rows.stop - rows.start), Image.Resampling.BILINEAR, box=part)
    return np.asarray(picture, np.float32)
