"""Rims of known strength and width are found on their side of an edge."""

import numpy as np
import pytest

from nst_core.looks.halo import Halos, find_halos
from nst_core.looks.planes import Pixels, Plane
from tests.unit.nst_core.looks.kit import grey, noise

Y, X = np.mgrid[:256, :320].astype(float)
#: Distance from the edge, positive on the bright side: a straight line, and a round object.
EDGES = {"line": 0.8 * (X - 160) + 0.6 * (Y - 128), "disc": 60 - np.hypot(X - 160, Y - 128)}
each = pytest.mark.parametrize("distance", EDGES.values(), ids=EDGES)


def photo(distance: Plane) -> Pixels:
    return grey(np.where(distance > 0, 180.0, 70.0) + noise(2))


def rim(distance: Plane, strength: float, width_px: float) -> Plane:
    """Return a rim on the positive side that falls to a half at `width_px`."""
    return np.where(distance > 0, strength * 0.5 ** ((distance / width_px) ** 4), 0.0)


def halos(distance: Plane, picture: Pixels) -> Halos:
    found = find_halos(photo(distance), picture)
    assert found is not None
    return found


@each
def test_a_photo_has_no_halo(distance: Plane) -> None:
    found = halos(distance, photo(distance))
    assert abs(found.stronger.overshoot) < 3


@each
@pytest.mark.parametrize("strength", [40.0, -40.0])
@pytest.mark.parametrize("width_px", [10.0, 20.0])
def test_a_rim_on_the_bright_side_is_found(distance: Plane, strength: float, width_px: float) -> None:
    found = halos(distance, grey(np.where(distance > 0, 150.0, 60.0) + rim(distance, strength, width_px)))
    assert found.bright.overshoot == pytest.approx(strength, rel=0.15)
    assert found.bright.width_px == pytest.approx(width_px, abs=2)
    assert abs(found.dark.overshoot) < 3
    assert found.stronger == found.bright


@each
def test_a_rim_on_the_dark_side_is_found(distance: Plane) -> None:
    found = halos(distance, grey(np.where(distance > 0, 60.0, 120.0) + rim(-distance, 30.0, 15.0)))
    assert found.dark.overshoot == pytest.approx(30, rel=0.15)
    assert found.dark.width_px == pytest.approx(15, abs=2)
    assert found.stronger == found.dark


@each
def test_other_tones_and_texture_are_no_halo(distance: Plane) -> None:
    inverted = np.where(distance > 0, 40.0, 200.0) + noise(20, seed=1)
    assert abs(halos(distance, grey(inverted)).stronger.overshoot) < 4


def test_edges_between_busy_areas_do_not_count() -> None:
    checks = 40.0 * ((X // 16 + Y // 16) % 2)
    busy = grey(np.where(EDGES["line"] > 0, 180.0, 40.0) + checks)
    assert find_halos(busy, busy) is None


def test_a_photo_without_edges_has_no_measure() -> None:
    soft = grey(X / 2)
    assert find_halos(soft, soft) is None
