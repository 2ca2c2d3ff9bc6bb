"""Measures rims of light or shade that a picture has along the strong edges of its photo."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nst_core.looks.planes import Pixels, Plane, blurred, luminance

#: Lines of the brush are finer than this blur.
_BLUR_PX = 2.0
#: Slope of the blurred photo at a strong edge, in grey levels a pixel.
_STEEP = 6.0
#: Each side of an edge is followed this far; its tone is that of the outermost pixels.
_REACH_PX, _PLATEAU_PX = 40, 10
#: The edge itself, and a contour along it, end here.
_FIRST_PX = 5
#: Both sides of an edge are flat in the photo if their deviation is at most this, in grey levels.
_FLAT = 8.0
_MOST_EDGES = 2000
_LEAST_EDGES = 20

_Points = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Halo:
    """The mean rim on one side of the edges."""

    #: How much brighter (or, if negative, darker) it is than the area beside it, at its strongest, in grey levels.
    overshoot: float
    #: How far from the edge it falls below half of that, in pixels.
    width_px: float


@dataclass(frozen=True, kw_only=True)
class Halos:
    """The mean rims of one picture, on the sides that are dark and bright in the photo."""

    dark: Halo
    bright: Halo

    @property
    def stronger(self) -> Halo:
        """The rim with the larger overshoot."""
        return max(self.dark, self.bright, key=lambda halo: abs(halo.overshoot))


def find_halos(photo: Pixels, picture: Pixels) -> Halos | None:
    """Return the mean rims along edges whose sides are flat in the photo, or None if there are fewer than 20 points."""
    given, made = (blurred(luminance(each), _BLUR_PX) for each in (photo, picture))
    found = _edges(given)
    if found is None:
        return None
    places, normals = found
    # From the dark side, over the edge, to the bright side: N x (2 reach + 1).
    before, after = (_profiles(plane, places, normals) for plane in (given, made))
    clear = np.maximum(*(before[:, side].std(axis=1) for side in (_DARK, _BRIGHT))) <= _FLAT
    if clear.sum() < _LEAST_EDGES:
        return None
    mean = after[clear].mean(axis=0)
    return Halos(dark=_rim(mean[_DARK]), bright=_rim(mean[_BRIGHT]))


def _edges(plane: Plane) -> tuple[_Points, Plane] | None:
    """Return places on strong edges, N x 2, and unit vectors towards their bright sides, or None without any."""
    down, across = np.gradient(plane)
    slope = np.hypot(down, across)
    inner = np.zeros(plane.shape, bool)
    inner[_REACH_PX:-_REACH_PX, _REACH_PX:-_REACH_PX] = True
    steep = np.argwhere(inner & (slope >= _STEEP))
    if not len(steep):
        return None
    normals = np.stack([down, across], axis=2)[tuple(steep.T)] / slope[tuple(steep.T)][:, None]
    # The steepest pixel across the edge is its place.
    beside = [slope[tuple(np.rint(steep + sign * normals).astype(np.int64).T)] for sign in (-1, 1)]
    ridge = np.flatnonzero(slope[tuple(steep.T)] >= np.maximum(*beside))
    if len(ridge) > _MOST_EDGES:
        ridge = ridge[np.linspace(0, len(ridge) - 1, _MOST_EDGES).astype(np.int64)]
    return steep[ridge], normals[ridge]


def _profiles(plane: Plane, places: _Points, normals: Plane) -> Plane:
    """Return the values along each normal, N x (2 reach + 1), of the nearest pixels."""
    along = np.arange(-_REACH_PX, _REACH_PX + 1)
    points = np.rint(places[:, None] + along[:, None] * normals[:, None]).astype(np.int64)
    values: Plane = plane[points[..., 0], points[..., 1]]
    return values


def _rim(side: Plane) -> Halo:
    """Return the rim of one side's mean profile, which begins at the edge."""
    excess = side - side[-_PLATEAU_PX:].mean()
    peak = int(np.abs(excess).argmax())
    below = np.flatnonzero(np.abs(excess[peak:]) < abs(excess[peak]) / 2)
    end = peak + int(below[0]) if len(below) else len(excess)
    return Halo(overshoot=float(excess[peak]), width_px=float(_FIRST_PX + end))


#: The parts of a profile beside the edge, outwards.
_DARK = np.arange(_REACH_PX - _FIRST_PX, -1, -1)
_BRIGHT = np.arange(_REACH_PX + _FIRST_PX, 2 * _REACH_PX + 1)
