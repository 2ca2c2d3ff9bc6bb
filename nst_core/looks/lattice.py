"""Finds dots and lines that repeat in areas that are flat in the photo.

A network paints a sky or a skin with a texture of its own. If that repeats at a constant distance, people see scales or
a fabric instead of brushwork, and the losses do not object: they compare sums over the whole picture.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nst_core.looks.planes import Pixels, Plane, blurred, luminance

LEAST_PERIOD_PX, MOST_PERIOD_PX = 2, 16
_TILE_PX, _STEP_PX = 64, 32
#: Coarser changes than this blur are left out: they are not a texture.
_BLUR_PX = 8.0
#: A tile is flat if its detail in the photo has at most this deviation, in grey levels.
_FLAT = 5.0
#: Of peaks that are about as strong, the nearest is the period; the others are its multiples.
_AS_STRONG = 0.75


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The repetition in the flat tiles of one picture, medians over the tiles."""

    #: How much of the texture repeats, 0 to 1. Noise without any period has 0.1 to 0.25: the strongest of many chances.
    height: float
    #: The distance at which it repeats most, in pixels; 0 if there is no texture.
    period_px: float
    #: The deviation of the part that repeats, in grey levels: what the eye sees of it.
    contrast: float


def find_lattice(photo: Pixels, picture: Pixels) -> Lattice | None:
    """Return the repetition in the tiles of 64 px that are flat in the photo, or None if there is none."""
    given, made = (detail(luminance(each)) for each in (photo, picture))
    found = [
        _repetition(tile)
        for flat, tile in zip(_overlapping(given), _overlapping(made), strict=True)
        if flat.std() <= _FLAT
    ]
    if not found:
        return None
    height, period, contrast = np.median(np.array(found), axis=0).tolist()
    return Lattice(height=height, period_px=period, contrast=contrast)


def detail(plane: Plane) -> Plane:
    """Return what a blur of 8 px takes away."""
    return plane - blurred(plane, _BLUR_PX)


def _overlapping(plane: Plane) -> list[Plane]:
    height, width = plane.shape
    return [
        plane[top : top + _TILE_PX, left : left + _TILE_PX]
        for top in range(0, height - _TILE_PX + 1, _STEP_PX)
        for left in range(0, width - _TILE_PX + 1, _STEP_PX)
    ]


def _repetition(tile: Plane) -> tuple[float, float, float]:
    """Return height, period and contrast of the strongest repetition in a tile.

    Its strength at a shift p is r(p) - max(0, r(p / 2)) with the autocorrelation r: a repetition has its opposite half
    way, or at least another texture. A single stroke resembles itself at all shifts along it, and does not count.
    """
    deviation = float(tile.std())
    if deviation < 0.25:  # less than rounding to 8 bits makes
        return 0.0, 0.0, 0.0
    correlation = _autocorrelation(tile)
    strength = correlation[_FULL] - np.maximum(0, correlation[_HALF].mean(axis=0))
    height = float(strength.max())
    if height <= 0:  # a slope, or one soft spot
        return 0.0, 0.0, 0.0
    peaks = strength >= np.where(_BESIDE, strength, -1).max(axis=1)
    period = float(_PERIODS[peaks & (strength >= _AS_STRONG * height)].min())
    return height, period, height**0.5 * deviation


def _autocorrelation(tile: Plane) -> Plane:
    """Return the autocorrelation at shifts of -16 to 16 px, down and across; 1 for no shift."""
    weights = np.outer(_WINDOW, _WINDOW)
    mean = (tile * weights).sum() / weights.sum()
    reach = slice(_TILE_PX - MOST_PERIOD_PX, _TILE_PX + MOST_PERIOD_PX + 1)
    products, shares = (
        np.fft.fftshift(np.fft.ifft2(np.abs(np.fft.fft2(values, (2 * _TILE_PX, 2 * _TILE_PX))) ** 2).real)[reach, reach]
        for values in ((tile - mean) * weights, weights)
    )
    result: Plane = products / shares
    result /= float(result[MOST_PERIOD_PX, MOST_PERIOD_PX])
    return result


def _shifts() -> npt.NDArray[np.int64]:
    """Return all shifts between the least and the most period, 2 x N; opposite ones are the same repetition."""
    span = np.arange(-MOST_PERIOD_PX, MOST_PERIOD_PX + 1)
    down, across = (each.ravel() for each in np.meshgrid(span, span, indexing="ij"))
    length = np.hypot(down, across)
    kept = (length >= LEAST_PERIOD_PX) & (length <= MOST_PERIOD_PX) & ((down > 0) | ((down == 0) & (across > 0)))
    return np.stack([down[kept], across[kept]])


_WINDOW = np.hanning(_TILE_PX + 2)[1:-1]
_SHIFTS = _shifts()
_PERIODS = np.hypot(*_SHIFTS)
_FULL = (_SHIFTS[0] + MOST_PERIOD_PX, _SHIFTS[1] + MOST_PERIOD_PX)
#: Which shifts lie beside each other, N x N.
_BESIDE = np.hypot(*(_SHIFTS[:, :, None] - _SHIFTS[:, None])) < 1.5
#: Half of each shift, 4 x N each: the middle of an odd one lies between pixels.
_LOW, _HIGH = _SHIFTS // 2, -(-_SHIFTS // 2)
_HALF = (
    np.stack([_LOW[0], _LOW[0], _HIGH[0], _HIGH[0]]) + MOST_PERIOD_PX,
    np.stack([_LOW[1], _HIGH[1], _LOW[1], _HIGH[1]]) + MOST_PERIOD_PX,
)
