"""Planes of light and shade in the flat parts of a photo, between lines that the photo itself has.

In Cubist and Futurist pictures an edge does not end where the thing ends: the line of a roof or a mast runs on through
the sky, and the side that is lighter at the roof is lighter there, too. So lines are looked for that many edges of the
photo lie on and that cross what is flat. Edges vote for lines as in Hough's transform (Duda, Hart, "Use of the Hough
Transformation to Detect Lines and Curves in Pictures", 1972), each for lines of its own direction alone.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor. Directions
come from tables of rounded numbers, and sums are those of whole numbers, or have an order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import cos, pi, sin, sqrt, tan

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from nst_core.inference.blend import Weight
from nst_core.inference.forms import Levels
from nst_core.inference.luminance import grey_levels
from nst_core.inference.strokes import mean_around
from nst_core.inference.stylizer import Pixels

#: The longer side, in pixels, of the copy in which lines are found, and of the planes.
_LINES_PX, SIDE_PX = 320, 640
#: Every so many pixels of the copy, it is asked whether it is flat.
_FLAT_STEP = 8
#: Directions of lines in half a turn, and places from the middle of the copy to a corner.
_DIRECTIONS, _PLACES = 90, 60
#: How many lines there are at most, and how far their light reaches, as a share of the longer side.
_COUNT, _REACH = 28, 0.2
#: Lines that are better by the first share than the best one that is left out are there fully; those that have less
#: than the second share of the best one are left out.
_FADE, _WEAK = 0.5, 0.08
#: The share of the edges on a line that must have the same side lighter, so that one side of it is lighter fully.
_CLEAR = 0.25
#: The contrast, in grey levels a pixel, at which an edge begins to count, and at which it counts fully.
_EDGES = (1.5, 9.5)
#: The deviation in grey levels, within so many pixels of the copy, up to which the photo is flat, and from which on it
#: is not; how soft the edges of flat parts are.
_CONTRASTS, _AROUND, _SOFT_PX = (6.0, 22.0), 4, 2.5
#: Lines differ in direction by about so many steps, or in place by about this share of the longer side.
_APART, _ASIDE = 6, 0.0625
#: The contrast of planes in grey levels, and the width of the edge between two, in pixels of the planes.
_LEVELS, _EDGE_PX = 46.0, 3.0

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """The points with x cos + y sin = place, from the middle of a photo, in shares of its longer side."""

    cos: float
    sin: float
    place: float
    #: How much lighter the side is where distances are positive, as the edges on the line are: -1 to 1.
    light: float

    def distances(self, height: int, width: int) -> npt.NDArray[np.float32]:
        """Return how far the pixels of a photo are from the line, H x W, in these shares, negative on one side."""
        longer = max(height, width)
        rows, columns = _from_middle(height) * (self.sin / longer), _from_middle(width) * (self.cos / longer)
        return np.add.outer((rows - self.place).astype(np.float32), columns.astype(np.float32))


def planes(photo: Pixels, weights: Iterable[Weight] = ()) -> Levels:
    """Return what planes add to an H x W x 3 photo, in grey levels, with a longer side of `SIDE_PX`.

    Each of `weights` says how strong they may be, 0 to 255, in any size.
    """
    rows, columns = _size(photo, _LINES_PX)
    copy = _resized(photo, rows, columns)
    flat = flat_parts(copy)
    for weight in weights:
        flat = np.minimum(flat, _resized(weight, rows, columns))
    height, width = _size(photo, SIDE_PX)
    light = np.zeros((height, width), np.float32)
    for line in lines(copy, flat):
        distances = line.distances(height, width)
        sides = np.clip(distances * np.float32(2 * SIDE_PX / _EDGE_PX), -1, 1)
        light += np.float32(line.light) * sides * np.maximum(1 - np.abs(distances) * np.float32(1 / _REACH), 0)
    # Where many lines meet, light comes to an end slowly.
    light /= np.sqrt(1 + light * light)
    return np.rint(light * (_resized(flat, height, width) * np.float32(_LEVELS / 255))).astype(np.int16)


def flat_parts(copy: Pixels) -> Weight:
    """Return where a copy of a photo has little contrast, 255 where it has none."""
    grey, (least, most) = grey_levels(copy), _CONTRASTS
    mean = mean_around(grey, _AROUND)
    deviation = np.sqrt(np.maximum(mean_around(grey * grey, _AROUND) - mean * mean, 0))
    flat = 255 - np.rint(255 * np.clip((deviation - least) / (most - least), 0, 1)).astype(np.uint8)
    image = Image.fromarray(flat).filter(ImageFilter.MinFilter(3))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(_SOFT_PX)))


def lines(copy: Pixels, flat: Weight) -> list[Line]:
    """Return the lines of a copy of a photo that run through its flat parts, the most important one first."""
    sheet = _Sheet(*flat.shape)
    votes, light = sheet.votes(copy)
    scores = votes * sheet.means(_resized(flat, *(max(1, side // _FLAT_STEP) for side in flat.shape)))
    found: list[tuple[int, int, float]] = []
    while len(found) <= _COUNT and scores.any():
        direction, place = divmod(int(scores.argmax()), scores.shape[1])
        found.append((direction, place, float(scores[direction, place])))
        scores = scores * sheet.others(direction, place)
    # Strengths come down to 0 at the line that is one too many, so that no line appears at once. Which lines are chosen
    # may still change with the photo.
    best = found[0][2] if found else 0.0
    least = max(_WEAK * best, found[_COUNT][2] if len(found) > _COUNT else 0.0)
    return [
        sheet.line(
            direction,
            place,
            light=min(1.0, (score / least - 1) / _FADE) * _side(light[direction, place] / votes[direction, place]),
        )
        for direction, place, score in found
        if score > least
    ]


class _Sheet:
    """The lines that are looked for in a copy of H x W pixels: directions x places."""

    def __init__(self, height: int, width: int) -> None:
        self._size, self._longer = (height, width), max(height, width)
        self._step = sqrt(height**2 + width**2) / 2 / _PLACES
        self._cos, self._sin = _directions()

    def line(self, direction: int, place: int, *, light: float) -> Line:
        """Return one of the lines."""
        offset = (place - _PLACES) * self._step / self._longer
        return Line(cos=float(self._cos[direction]), sin=float(self._sin[direction]), place=offset, light=light)

    def votes(self, copy: Pixels) -> tuple[_Floats, _Floats]:
        """Return how much of the edges of a copy lies on each line, and the same with the signs of their light."""
        grey = mean_around(mean_around(grey_levels(copy), 1), 1).astype(np.float64)
        right, down = np.zeros_like(grey), np.zeros_like(grey)
        right[:, 1:-1] = (grey[:, 2:] - grey[:, :-2]) / 2
        down[1:-1] = (grey[2:] - grey[:-2]) / 2
        least, most = _EDGES
        strength = np.clip(np.sqrt(right * right + down * down), least, most) - least
        rows, columns = np.nonzero(strength)
        right, down = right[rows, columns], down[rows, columns]
        nearest = _nearest(right, down)
        y, x = (_from_middle(side)[places] for side, places in zip(self._size, (rows, columns), strict=True))
        # An edge is seldom exact, so it also votes for the directions beside its own.
        weights = strength[rows, columns]
        votes, light = np.zeros((2, _DIRECTIONS, 2 * _PLACES + 1))
        for turn, share in ((-1, 0.5), (0, 1.0), (1, 0.5)):
            direction = (nearest + turn) % _DIRECTIONS
            numbers = self._numbers(direction, y, x)
            votes += self._sums(numbers, share * weights)
            lighter = np.sign(right * self._cos[direction] + down * self._sin[direction])
            light += self._sums(numbers, share * weights * lighter)
        return _smoothed(votes, 1), _smoothed(light, 1)

    def means(self, weights: Weight) -> _Floats:
        """Return the mean of some weights, h x w for the whole copy, on each line."""
        y, x = (_from_middle(count) * (side / count) for side, count in zip(self._size, weights.shape, strict=True))
        numbers = self._numbers(np.arange(_DIRECTIONS)[:, None, None], y[:, None], x)
        sums, counts = (
            _smoothed(self._sums(numbers, each), 2) for each in (weights.astype(np.float64), np.ones(weights.shape))
        )
        return np.asarray(sums / np.maximum(counts, 1), np.float64)

    def others(self, direction: int, place: int) -> _Floats:
        """Return 1 for lines that differ much from one of them, and as much less as they differ less."""
        turn = np.arange(_DIRECTIONS)[:, None] - direction
        # Beyond a quarter of a turn, lines are nearer in the other sense, where places have the other sign.
        over = np.abs(turn) > _DIRECTIONS // 2
        apart = np.where(over, _DIRECTIONS - np.abs(turn), np.abs(turn)) / _APART
        places = np.arange(-_PLACES, _PLACES + 1)
        aside = (np.where(over, -places, places) - (place - _PLACES)) * self._step / (_ASIDE * self._longer)
        return np.clip(2 * (apart * apart + aside * aside) - 1, 0, 1)

    def _numbers(self, directions: _Ints, y: _Floats, x: _Floats) -> _Ints:
        """Return the numbers of the lines of some directions that points are on."""
        places = np.rint((x * self._cos[directions] + y * self._sin[directions]) / self._step).astype(np.int64)
        return np.asarray(directions * (2 * _PLACES + 1) + places + _PLACES, np.int64)

    @staticmethod
    def _sums(numbers: _Ints, weights: _Floats) -> _Floats:
        """Return the sums of the weights of points on lines of so many numbers, directions x places."""
        count = _DIRECTIONS * (2 * _PLACES + 1)
        sums = np.bincount(numbers.ravel(), np.broadcast_to(weights, numbers.shape).ravel(), count)
        return np.asarray(sums.reshape(_DIRECTIONS, -1), np.float64)


def _side(share: float) -> float:
    """Return how much lighter one side of a line is, -1 to 1, from the share of its edges that say so."""
    return float(np.clip(share / _CLEAR, -1, 1))


def _from_middle(count: int) -> _Floats:
    """Return how far each of a row of pixels is from its middle."""
    return np.arange(count, dtype=np.float64) - (count - 1) / 2


@cache
def _directions() -> tuple[_Floats, _Floats]:
    """Return cosine and sine of each direction, from straight up to straight down, in whole parts of 2 ** -20."""
    angles = [pi * (number / _DIRECTIONS - 0.5) for number in range(_DIRECTIONS)]
    across, down = (np.array([round(each(angle) * 2**20) / 2**20 for angle in angles]) for each in (cos, sin))
    return across, down


def _nearest(right: _Floats, down: _Floats) -> _Ints:
    """Return the number of the direction that is the nearest to each gradient."""
    bounds = [round(tan(pi * ((number + 0.5) / _DIRECTIONS - 0.5)) * 2**20) / 2**20 for number in range(_DIRECTIONS)]
    with np.errstate(divide="ignore"):
        slopes = down / right
    return np.searchsorted(bounds, slopes) % _DIRECTIONS


def _smoothed(values: _Floats, reach: int) -> _Floats:
    """Return the sums of so many neighbours to either side in each row, as far as there are some."""
    padded = np.pad(values, ((0, 0), (reach, reach)))
    return np.asarray(sum(padded[:, start : start + values.shape[1]] for start in range(2 * reach + 1)), np.float64)


def _size(photo: Pixels, longer: int) -> tuple[int, int]:
    """Return height and width of a copy of a photo, for its longer side."""
    scale = longer / max(photo.shape[:2])
    height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
    return height, width


def _resized(values: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return bytes in another size."""
    # A filter whose weights are those of a polynomial: they are the same on every processor.
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))
