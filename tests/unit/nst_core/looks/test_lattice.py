"""Repetitions of a known period are found, and noise and single strokes are not taken for one."""

import numpy as np
import pytest

from nst_core.looks.lattice import detail, find_lattice
from nst_core.looks.planes import Plane, blurred
from tests.unit.nst_core.looks.kit import flat, grey, noise

PHOTO = grey(flat())
#: The most that textures without a period may have.
CHANCE = 0.35


def dots(period: float, *, angle: float = 0.0, size_px: float = 2.0) -> Plane:
    """Return round dots, 1 in their middles, on a square grid that is turned by an angle."""
    y, x = np.mgrid[:256, :320].astype(float)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    squared = (u - period * np.rint(u / period)) ** 2 + (v - period * np.rint(v / period)) ** 2
    plane: Plane = np.exp(-squared / (2 * size_px**2))
    return plane


def scales(period: float) -> Plane:
    """Return waves in three directions: a hexagonal grid with a distance of `period` between its dots."""
    y, x = np.mgrid[:256, :320].astype(float)
    turns = np.arange(3) * np.pi / 3
    wave = 4 * np.pi / (np.sqrt(3) * period)
    plane: Plane = np.mean([np.cos(wave * (x * np.cos(a) + y * np.sin(a))) for a in turns], axis=0)
    return plane


@pytest.mark.parametrize("period", [4, 7, 11, 13])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_grid_of_dots_on_noise_is_found_with_its_period(period: int, angle: float) -> None:
    size_px = period / 5
    found = find_lattice(PHOTO, grey(flat() + 40 * dots(period, angle=angle, size_px=size_px) + noise(5)))
    assert found is not None
    assert found.period_px == pytest.approx(period, abs=0.8)
    assert found.height > 0.5


def test_scales_are_found_with_their_period() -> None:
    found = find_lattice(PHOTO, grey(flat() + 20 * scales(11) + noise(5)))
    assert found is not None
    assert found.period_px == pytest.approx(11, abs=0.8)
    assert found.height > 0.7


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_at_every_fourth_pixel_are_found(axis: int) -> None:
    lines = 10.0 * (np.indices((256, 320))[axis] % 4 == 0)
    found = find_lattice(PHOTO, grey(flat() + lines + noise(2)))
    assert found is not None
    assert found.period_px == pytest.approx(4, abs=0.5)
    assert found.height > 0.7


@pytest.mark.parametrize("grain_px", [0.0, 0.7, 1.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_lattice(grain_px: float, seed: int) -> None:
    plane = noise(60, seed=seed)
    found = find_lattice(PHOTO, grey(flat() + (blurred(plane, grain_px) if grain_px else plane)))
    assert found is not None
    assert found.height < CHANCE


def test_single_strokes_are_no_lattice() -> None:
    y, x = np.mgrid[:256, :320].astype(float)
    edges = np.where((x + 0.7 * y) % 70 < 8, 60.0, 0.0)
    found = find_lattice(PHOTO, grey(flat(100) + edges + noise(3)))
    assert found is not None
    assert found.height < CHANCE


def test_the_contrast_is_that_of_what_repeats() -> None:
    waves = 10 * np.sqrt(2) * np.sin(np.indices((256, 320))[1] * 2 * np.pi / 8)
    for strength in (10.0, 2.0):
        found = find_lattice(PHOTO, grey(flat() + strength / 10 * waves + noise(3)))
        assert found is not None
        assert found.contrast == pytest.approx(strength, rel=0.2)


def test_only_tiles_that_are_flat_in_the_photo_count() -> None:
    left, grid = np.arange(320) < 160, 40 * dots(11)
    photo = grey(np.where(left, flat(), flat() + noise(30)))
    on_flat = find_lattice(photo, grey(flat() + np.where(left, grid, noise(10))))
    on_busy = find_lattice(photo, grey(flat() + np.where(left, noise(10), grid)))
    assert on_flat is not None
    assert on_busy is not None
    assert on_flat.height > 0.5
    assert on_busy.height < CHANCE
    assert find_lattice(grey(flat() + noise(30)), PHOTO) is None


def test_a_picture_without_texture_has_no_lattice() -> None:
    found = find_lattice(PHOTO, PHOTO)
    assert found is not None
    assert (found.height, found.period_px, found.contrast) == (0, 0, 0)


def test_slow_changes_are_no_detail() -> None:
    slope = np.linspace(0, 200, 320)[None, :] + np.zeros((256, 1))
    assert np.abs(detail(slope)[:, 30:-30]).max() < 0.01
