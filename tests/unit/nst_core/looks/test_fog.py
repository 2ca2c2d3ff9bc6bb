"""Planted fog is found; a clean recolouring, strokes and busy areas are not taken for it."""

from collections.abc import Callable

import numpy as np
import pytest

from nst_core.looks.fog import find_fog
from nst_core.looks.planes import Pixels

GREEN = np.array((60, 200, 60.0))


def photo() -> Pixels:
    """Return a sky above a wall, both with a little noise."""
    sky, wall = np.array((120, 150, 200.0)), np.array((170, 130, 100.0))
    areas = np.where((np.arange(256) < 140)[:, None, None], sky, wall) + np.zeros((256, 320, 3))
    return np.clip(areas + np.random.default_rng(0).normal(0, 2, areas.shape), 0, 255).astype(np.uint8)


def recoloured(picture: Pixels) -> Pixels:
    """Return a picture with other colours, each a smooth function of the photo's."""
    tones = picture / 255
    other = np.stack([tones[..., 2] ** 2, tones[..., 0], 0.3 + 0.5 * tones[..., 1]], axis=2)
    return (255 * other).astype(np.uint8)


def fogged(picture: Pixels, colour: np.ndarray = GREEN, *, share: float = 0.6, radius_px: float = 50) -> Pixels:
    """Return a picture with one soft cloud of a colour in its sky."""
    y, x = np.mgrid[:256, :320].astype(float)
    veil = share * np.exp(-((x - 110) ** 2 + (y - 70) ** 2) / (2 * radius_px**2))[..., None]
    result: Pixels = ((1 - veil) * picture + veil * colour).astype(np.uint8)
    return result


def fog(picture: Pixels, given: Pixels | None = None) -> float:
    found = find_fog(photo() if given is None else given, picture)
    assert found is not None
    return found


def test_planted_fog_is_found() -> None:
    assert fog(fogged(recoloured(photo()))) > 5


def test_more_fog_has_a_higher_value() -> None:
    clean = recoloured(photo())
    values = [fog(fogged(clean, share=share)) for share in (0.0, 0.2, 0.4, 0.8)]
    assert values == sorted(values)
    assert values[1] > 2 * values[0]


@pytest.mark.parametrize("paint", [lambda picture: picture, recoloured, lambda picture: 255 - picture])
def test_a_clean_recolouring_has_no_fog(paint: Callable[[Pixels], Pixels]) -> None:
    assert fog(paint(photo())) < 2


def test_coloured_strokes_are_no_fog() -> None:
    strokes = np.where((np.indices((256, 320)).sum(axis=0) % 12 < 4)[..., None], GREEN, recoloured(photo()))
    assert fog(strokes.astype(np.uint8)) < 2


def test_fog_without_colour_does_not_count() -> None:
    grey = np.full((256, 320, 3), 120, np.uint8)
    assert fog(fogged(grey, np.array((250, 250, 250.0)))) < 0.5


def test_a_photo_without_flat_areas_has_no_measure() -> None:
    busy = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    assert find_fog(busy, fogged(busy)) is None
