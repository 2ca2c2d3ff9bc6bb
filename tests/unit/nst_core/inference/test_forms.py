"""Tests of nst_core.inference.forms."""

from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from nst_core.inference.forms import SIDE_PX, with_forms
from nst_core.inference.stylizer import Pixels

EVERYWHERE = np.full((213, SIDE_PX), 255, np.uint8)


def plain(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), 128, np.uint8)


def test_a_flat_photo_gets_clouds_of_all_channels() -> None:
    painted = with_forms(plain(426, 640), EVERYWHERE).astype(int)
    assert (painted == painted[:, :, :1]).all()
    assert 10 < painted.std() < 18
    assert abs(painted.mean() - 128) < 5
    # They are soft: neighbouring pixels differ by a few levels.
    assert np.abs(np.diff(painted, axis=0)).max() <= 4
    assert np.abs(np.diff(painted, axis=1)).max() <= 4


def test_they_are_only_where_the_photo_is_flat() -> None:
    flat = EVERYWHERE.copy()
    flat[:, :160] = 0
    photo = np.random.default_rng(0).integers(0, 256, (426, 640, 3), np.uint8)
    painted = with_forms(photo, flat)
    assert np.array_equal(painted[:, :310], photo[:, :310])
    assert np.abs(painted[:, 330:].astype(int) - photo[:, 330:]).mean() > 5


def test_they_grow_with_the_photo() -> None:
    small, large = with_forms(plain(213, 320), EVERYWHERE), with_forms(plain(852, 1280), EVERYWHERE)
    reduced = np.asarray(Image.fromarray(large).resize((320, 213), Image.Resampling.BOX))
    assert np.abs(reduced.astype(int) - small).max() <= 2


def test_bright_and_dark_photos_stay_within_bytes() -> None:
    for value in (0, 255):
        painted = with_forms(np.full((213, 320, 3), value, np.uint8), EVERYWHERE)
        assert np.abs(painted.astype(int) - value).max() < 60


@pytest.mark.parametrize("size", [(1, 1), (1, 320), (16, 3)])
def test_tiny_photos_get_them_too(size: tuple[int, int]) -> None:
    assert with_forms(plain(*size), np.full(size, 255, np.uint8)).shape == (*size, 3)


def test_they_are_the_same_on_every_processor_and_the_photo_stays_as_it_is() -> None:
    photo = plain(300, 500)
    painted = with_forms(photo, EVERYWHERE)
    assert sha256(painted.tobytes()).hexdigest().startswith("fa16e6142fd612c3")
    assert np.array_equal(photo, plain(300, 500))
