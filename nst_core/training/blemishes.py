"""Measures typical faults of stylizing networks in their pictures: blotches, frames and grid marks.

Each measure is near 0 for a good network, and has a limit above which people notice the fault.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_Grey = npt.NDArray[np.float64]

#: Above these limits, a fault is reported. Lengstrom's networks wave and udnie have at most 0.004, 0.04 and 0.19.
MAX_BLOTCHES = 0.02
MAX_FRAME = 0.08
MAX_GRID = 0.25

_TILE_PX = 16
#: A tile is a blotch if its tone (0 to 1) differs by this much from what the photo and the neighbouring tiles suggest.
_BLOTCH_TONE = 0.25
#: Outermost pixels that are compared with those further in.
_EDGE_PX, _INNER_PX = 4, 12
_PERIOD_PX = 4


@dataclass(frozen=True, kw_only=True)
class Blemishes:
    """The strength of each fault in pictures."""

    #: Share of tiles of 16 px whose tone fits neither the photo nor the tiles around.
    blotches: float
    #: Difference in tone between the outermost pixels and those further in, beyond that of the photo; at most 1.
    frame: float
    #: By how much the contrast at one phase of a 4-pixel period exceeds the mean.
    grid: float

    @property
    def remarks(self) -> list[str]:
        """One sentence for each fault above its limit."""
        found = []
        if self.blotches > MAX_BLOTCHES:
            found.append(f"{self.blotches:.1%} of the tiles are blotches.")
        if self.frame > MAX_FRAME:
            found.append(f"The edges differ by {self.frame:.0%} of the full tone: a frame.")
        if self.grid > MAX_GRID:
            found.append(f"There are grid marks: {self.grid:.0%} more contrast at every fourth pixel.")
        return found


def find_blemishes(pairs: Iterable[tuple[Pixels, Pixels]]) -> Blemishes:
    """Return the means over pairs of a photo and its picture, H x W x 3 uint8 each, of one size, of at least 64 px."""
    return mean_blemishes([blemishes_of(photo, picture) for photo, picture in pairs])


def blemishes_of(photo: Pixels, picture: Pixels) -> Blemishes:
    """Return the faults of one picture for `mean_blemishes`: negative ones are those of the photo."""
    given, made = _grey(photo), _grey(picture)
    return Blemishes(
        blotches=_blotches(given, made), frame=_frame(made) - _frame(given), grid=_grid(made) - _grid(given)
    )


def mean_blemishes(found: Sequence[Blemishes]) -> Blemishes:
    """Return the means of the faults of pictures, none below 0."""
    blotches, frame, grid = np.mean([(each.blotches, each.frame, each.grid) for each in found], axis=0).tolist()
    return Blemishes(blotches=blotches, frame=max(0.0, frame), grid=max(0.0, grid))


def _grey(image: Pixels) -> _Grey:
    result: _Grey = image @ np.array([0.299, 0.587, 0.114]) / 255
    return result


def _tiles(grey: _Grey) -> _Grey:
    """Return the means of the tiles."""
    h, w = (side // _TILE_PX for side in grey.shape)
    tiles: _Grey = grey[: h * _TILE_PX, : w * _TILE_PX].reshape(h, _TILE_PX, w, _TILE_PX).mean((1, 3))
    return tiles


def _blotches(photo: _Grey, picture: _Grey) -> float:
    given, made = _tiles(photo), _tiles(picture)
    # A straight line that maps the tones of the photo to those of this picture.
    slope, offset = np.polyfit(given.ravel(), made.ravel(), 1) if np.ptp(given) > 0.02 else (0.0, made.mean())
    odd = made - (slope * given + offset)
    around = np.pad(odd, 1, mode="edge")
    h, w = odd.shape
    neighbours = np.stack([around[y : y + h, x : x + w] for y in range(3) for x in range(3) if (y, x) != (1, 1)])
    alone = np.abs(odd - np.median(neighbours, axis=0))
    return float(np.mean((np.abs(odd) > _BLOTCH_TONE) & (alone > _BLOTCH_TONE / 2)))


def _frame(grey: _Grey) -> float:
    """Return the difference in tone between an edge and the pixels next to it, as the mean of the four sides."""
    sides = (grey, grey[::-1], grey.T, grey.T[::-1])
    steps = [abs(float(side[:_EDGE_PX].mean() - side[_EDGE_PX : _EDGE_PX + _INNER_PX].mean())) for side in sides]
    return float(np.mean(steps))


def _grid(grey: _Grey) -> float:
    def excess(steps: _Grey) -> float:
        phases = [float(steps[:, phase::_PERIOD_PX].mean()) for phase in range(_PERIOD_PX)]
        mean = float(np.mean(phases))
        return max(phases) / mean - 1 if mean > 1e-4 else 0.0

    inner = grey[16:-16, 16:-16]
    return max(excess(np.abs(np.diff(inner, axis=1))), excess(np.abs(np.diff(inner, axis=0)).T))
