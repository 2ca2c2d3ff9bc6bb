"""The painted picture and the photo become the result: how strongly, in whose colours, and where.

Works in bands of rows, so that large photos need little more memory than photo and painting. Never loads torch: it runs
beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum, sqrt
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.errors import ConfigError
from nst_core.inference.luminance import PARTS, grey_levels, luminance
from nst_core.inference.row_ranges import Rows, strips
from nst_core.inference.stylizer import Pixels

_BAND_PIXELS = 2**18
#: Contrast is raised to at most this much of the painting's.
_MOST_GAIN = 2.0
#: Luminance that is so near to black or white is compressed.
_SOFT = 48.0
#: How often the range of possible offsets is halved, to less than a thousandth of a grey level.
_HALVINGS = 24
_TINY = 1e-3

_Floats = npt.NDArray[np.float32]
_AnyFloats = TypeVar("_AnyFloats", npt.NDArray[np.float32], npt.NDArray[np.float64])


def blend(
    photo: Pixels,
    painted: Pixels,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
    weight: npt.NDArray[np.uint8] | None = None,
) -> Pixels:
    """Return the result of an H x W x 3 photo and its painted picture, whose memory is used for the result.

    `strength` goes from 0, the photo, to 1, the painted picture. `preserve_color` keeps the photo's colours and its
    light; see `_Colors`. `weight` says where: a picture of one channel and any size, which is stretched to that of the
    photo; 255 is what `strength` and `preserve_color` make, and 0 is the photo. Raises ConfigError for another
    strength, shape or type.
    """
    _check(photo, painted, strength, weight)
    if strength == 1.0 and not preserve_color and weight is None:
        return painted
    if strength == 0.0:
        return photo
    colors = _Colors.of(photo, painted) if preserve_color else None
    result = np.require(painted, requirements=["C", "W"])
    for rows in _bands(photo):
        part, target = photo[rows.first : rows.end], result[rows.first : rows.end]
        wanted = target.astype(np.float32) if colors is None else colors.kept(part, target)
        change = (wanted - part) * np.float32(strength)
        if weight is not None:
            change *= _stretched(weight, rows, photo.shape) / np.float32(255)
        target[:] = np.rint(part + change)
    return result


@dataclass(frozen=True)
class _Colors:
    """How the photo's colours are kept: its chrominance, and the luminance of the painting, matched to the photo's.

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
    def of(cls, photo: Pixels, painted: Pixels) -> "_Colors":
        """Measure both pictures as a whole."""
        mean, deviation = _moments(_histogram(photo))
        counts = _histogram(painted)
        gain = min(_MOST_GAIN, deviation / max(_moments(counts)[1], 1.0))
        low, high = min(_SOFT, mean / 2), max(255 - _SOFT, (255 + mean) / 2)
        # Compression moves the mean, so the offset is searched for: the mean rises with it.
        least, most = -255.0 * (_MOST_GAIN + 1), 255.0 * 2
        levels = np.arange(256.0)
        for _ in range(_HALVINGS):
            colors = cls(gain=gain, offset=(least + most) / 2, low=low, high=high)
            if _mean(counts, colors.grey(levels)) < mean:
                least = colors.offset
            else:
                most = colors.offset
        return colors

    def grey(self, levels: _AnyFloats) -> _AnyFloats:
        """Return the luminance of the result for that of the painted picture."""
        values = levels * self.gain + self.offset
        over = np.maximum(values - self.high, 0)
        under = np.maximum(self.low - values, 0)
        above, below = max(255 - self.high, _TINY), max(self.low, _TINY)
        inner = np.clip(values, self.low, self.high)
        return inner + above * over / (above + over) - below * under / (below + under)

    def kept(self, photo: Pixels, painted: Pixels) -> _Floats:
        """Return some rows of the painted picture in the photo's colours."""
        grey = self.grey(grey_levels(painted))[..., None]
        color = photo - grey_levels(photo)[..., None]
        room = np.where(color > 0, 255 - grey, grey)
        color *= np.min(np.minimum(1, room / np.maximum(np.abs(color), _TINY)), axis=2, keepdims=True)
        return np.asarray(grey + color, np.float32)


def _check(photo: Pixels, painted: Pixels, strength: float, weight: npt.NDArray[np.uint8] | None) -> None:
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
    for rows in _bands(picture):
        levels = (luminance(picture[rows.first : rows.end]) + PARTS // 2) // PARTS
        counts += np.bincount(levels.ravel(), minlength=256)
    return counts


def _moments(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of a histogram."""
    mean = _mean(counts, np.arange(256.0))
    return mean, sqrt(_mean(counts, (np.arange(256.0) - mean) ** 2))


def _mean(counts: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> float:
    """Return the mean of the values of each bin."""
    return fsum(counts * values) / int(counts.sum())


def _bands(picture: Pixels) -> Iterator[Rows]:
    yield from strips(picture.shape[0], max(16, _BAND_PIXELS // picture.shape[1]))


def _stretched(weight: npt.NDArray[np.uint8], rows: Rows, shape: tuple[int, ...]) -> _Floats:
    """Return the weight of some rows of a picture of a shape, H x W x 1, 0 to 255."""
    height, width = shape[:2]
    part = (0.0, rows.first * weight.shape[0] / height, float(weight.shape[1]), rows.end * weight.shape[0] / height)
    picture = Image.fromarray(weight).resize((width, len(rows)), Image.Resampling.BILINEAR, box=part)
    return np.asarray(picture, np.float32)[..., None]
