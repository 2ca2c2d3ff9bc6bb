"""Finds colour that lies on flat areas like fog: the photo gives no reason for it.

A style may give any colour to a sky, and another one to a wall. It is fog if places of nearly the same colour in the
photo, all in large flat areas, get soft colours that differ from each other.
"""

import numpy as np
import numpy.typing as npt

from nst_core.looks.planes import Pixels, blurred, colours, tiles

_TILE_PX = 16
#: Strokes and dots are finer than this blur, and are no fog.
_BLUR_PX = 8.0
#: A tile is flat if its luminance in the photo has at most this deviation; grey levels.
_FLAT = 14.0
#: Places whose colours in the photo are at most this far apart should become alike; grey levels of Y, Cb, Cr.
_ALIKE = 16.0
#: The mapping of a colour is known if at least this many tiles have it.
_LEAST_TILES = 12
#: Fog lies on a part of an area: the share of tiles that depart less than the value.
_PERCENTILE = 90

_Marks = npt.NDArray[np.bool_]


def find_fog(photo: Pixels, picture: Pixels) -> float | None:
    """Return how far the soft colour of flat areas departs from what is usual, in grey levels of Cb and Cr.

    A flat area has at least 3 x 3 tiles of 16 px. Usual is the median of all tiles that have nearly the same colour in
    the photo. Of ten tiles one departs more. Photos themselves have about 5. None if a photo has no such areas.
    """
    given = colours(photo)
    blurs = [blurred(plane, _BLUR_PX) for plane in np.moveaxis(colours(picture), 2, 0)[1:]]
    photo_colours = np.stack([tiles(plane, _TILE_PX).mean((2, 3)) for plane in np.moveaxis(given, 2, 0)], axis=2)
    soft = np.stack([tiles(plane, _TILE_PX).mean((2, 3)) for plane in blurs], axis=2)
    flat = _in_large_areas(tiles(given[..., 0], _TILE_PX).std((2, 3)) <= _FLAT)
    departures = []
    for colour, own in zip(photo_colours[flat], soft[flat], strict=True):
        alike = np.linalg.norm(photo_colours[flat] - colour, axis=1) <= _ALIKE
        if alike.sum() >= _LEAST_TILES:
            departures.append(np.linalg.norm(own - np.median(soft[flat][alike], axis=0)))
    return float(np.percentile(departures, _PERCENTILE)) if departures else None


def _in_large_areas(flat: _Marks) -> _Marks:
    """Return which tiles belong to a square of 3 x 3 flat ones."""
    middles: _Marks = np.all(_around(np.pad(flat, 1)), axis=0)
    near: _Marks = np.any(_around(np.pad(middles, 1)), axis=0)
    return near


def _around(padded: _Marks) -> list[_Marks]:
    """Return an array, padded by 1, shifted to each of the nine places around."""
    rows, columns = padded.shape[0] - 2, padded.shape[1] - 2
    return [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
