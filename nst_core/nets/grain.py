"""Soft noise that photos get before a network that was trained with it. Never loads torch.

A network sees nothing in a flat area, so it can only draw marks there that repeat: scales, weaves, dots. With a little
noise it has a place for each stroke. Texture networks have noise as their input for the same reason (Ulyanov et al.,
"Texture Networks", 2016). The noise is fixed, so that a photo always gets the same picture, on every processor.
"""

from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
#: The noise repeats after so many pixels.
SIDE_PX = 512
_SEED = 7
#: The side of the squares over which the noise is blurred, twice; its spots are about 10 pixels wide.
_BLUR_PX = 7
#: Rows and columns of a photo that are computed at once, and stay in the cache.
_PIECE_PX = 256


@cache
def tile() -> npt.NDArray[np.float32]:
    """Return the noise, SIDE_PX x SIDE_PX x 3, with mean 0 and deviation 1, read-only. Opposite edges fit together."""
    raw = np.random.PCG64(_SEED).random_raw(SIDE_PX * SIDE_PX * 3) >> np.uint64(56)
    values = raw.astype(np.int64).reshape(SIDE_PX, SIDE_PX, 3) - 128
    values = blurred(values, _BLUR_PX, _BLUR_PX)
    # Sums of whole numbers up to here, which do not depend on their order.
    count = SIDE_PX * SIDE_PX
    sums, squares = (part.sum((0, 1)).astype(np.float64) for part in (values, np.square(values)))
    deviation = np.sqrt((squares - sums**2 / count) / count)
    result: npt.NDArray[np.float32] = ((values - sums / count) / deviation).astype(np.float32)
    result.flags.writeable = False
    return result


def blurred(values: npt.NDArray[np.int64], rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Return sums of whole numbers over so many rows and columns, taken twice; opposite edges fit together."""
    for axis, count in ((0, rows), (1, columns)) * 2:
        values = np.asarray(sum(np.roll(values, shift, axis) for shift in range(count)))
    return values


# Blends of styles have any deviation, so only some are kept.
@lru_cache(maxsize=8)
def _levels(deviation: float) -> npt.NDArray[np.int16]:
    """Return the noise in whole grey levels of about a deviation."""
    levels: npt.NDArray[np.int16] = np.rint(tile() * np.float32(deviation)).astype(np.int16)
    levels.flags.writeable = False
    return levels


def noise(height: int, width: int, deviation: float, *, top: int = 0, left: int = 0) -> npt.NDArray[np.int16]:
    """Return H x W x 3 of the noise from a row and column on, in whole grey levels of about a deviation."""
    rows, columns = np.arange(top, top + height) % SIDE_PX, np.arange(left, left + width) % SIDE_PX
    part: npt.NDArray[np.int16] = _levels(deviation)[rows[:, None], columns]
    return part


def grained(photo: Pixels, deviation: float, *, top: int = 0) -> Pixels:
    """Return an H x W x 3 photo with noise of a deviation in grey levels; the photo itself for 0.

    Of a part of a photo, `top` is its first row there.
    """
    if not deviation:
        return photo
    result, levels = np.empty_like(photo, order="C"), _levels(deviation)
    for rows, noisy_rows in _pieces(top, photo.shape[0]):
        for columns, noisy_columns in _pieces(0, photo.shape[1]):
            values = photo[rows, columns] + levels[noisy_rows, noisy_columns]
            np.clip(values, 0, 255, out=result[rows, columns], casting="unsafe")
    return result


def _pieces(first: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Yield pieces of `count` rows or columns, the first of which is number `first`, and their places in the noise."""
    start = 0
    while start < count:
        place = (first + start) % SIDE_PX
        size = min(_PIECE_PX, SIDE_PX - place, count - start)
        yield slice(start, start + size), slice(place, place + size)
        start += size
