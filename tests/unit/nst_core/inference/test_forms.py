"""Tests of nst_core.inference.forms."""

from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from nst_core.inference.forms import SIDE_PX, clouds, with_forms
from nst_core.inference.stylizer import Pixels

EVERYWHERE = np.full((213, SIDE_PX), 255, np.uint8)


def plain(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), 128, np.uint8)


def test_a_flat_photo_gets_clouds_of_all_channels() -> None:
    painted = with_forms(plain(426, 640), clouds(EVERYWHERE)).astype(int)
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
    painted = with_forms(photo, clouds(flat))
    assert np.array_equal(painted[:, :310], photo[:, :310])
    assert np.abs(painted[:, 330:].astype(int) - photo[:, 330:]).mean() > 5


def test_they_grow_with_the_photo() -> None:
    small, large = with_forms(plain(213, 320), clouds(EVERYWHERE)), with_forms(plain(852, 1280), clouds(EVERYWHERE))
    reduced = np.asarray(Image.fromarray(large).resize((320, 213), Image.Resampling.BOX))
    assert np.abs(reduced.astype(int) - small).max() <= 2


@pytest.mark.parametrize("side", [20, 100, 319])
def test_a_small_photo_has_those_of_a_large_one(side: int) -> None:
    small = with_forms(plain(side, side), clouds(np.full((side, side), 255, np.uint8))).astype(int)
    large = with_forms(plain(1280, 1280), clouds(np.full((SIDE_PX, SIDE_PX), 255, np.uint8)))
    reduced = np.asarray(Image.fromarray(large).resize((side, side), Image.Resampling.BOX))
    assert np.abs(small - reduced).mean() < 1


def test_the_flat_part_of_a_small_photo_keeps_its_place() -> None:
    flat = np.zeros((60, 100), np.uint8)
    flat[:, 50:] = 255
    painted = with_forms(plain(60, 100), clouds(flat)).astype(int) - 128
    assert np.abs(painted[:, :48]).max() == 0
    assert np.abs(painted[:, 52:]).mean() > 5


def test_bright_and_dark_photos_stay_within_bytes() -> None:
    for value in (0, 255):
        painted = with_forms(np.full((213, 320, 3), value, np.uint8), clouds(EVERYWHERE))
        assert np.abs(painted.astype(int) - value).max() < 60


@pytest.mark.parametrize("size", [(1, 1), (1, 320), (16, 3)])
def test_tiny_photos_get_them_too(size: tuple[int, int]) -> None:
    assert with_forms(plain(*size), clouds(np.full(size, 255, np.uint8))).shape == (*size, 3)


def test_they_are_the_same_on_every_processor_and_the_photo_stays_as_it_is() -> None:
    photo = plain(300, 500)
    painted = with_forms(photo, clouds(EVERYWHERE))
    assert sha256(painted.tobytes()).hexdigest().startswith("fa16e6142fd612c3")
    assert np.array_equal(photo, plain(300, 500))


def test_a_photo_without_forms_is_the_photo_itself() -> None:
    photo = plain(300, 500)
    assert with_forms(photo, np.zeros((200, 320), np.int16)) is photo


def test_forms_are_stretched_to_a_photo_of_any_size_without_seams() -> None:
    levels = np.zeros((200, 320), np.int16)
    levels[:, 160:] = 100
    # Photos of more than one band of rows.
    large = with_forms(plain(1000, 1600), levels).astype(int) - 128
    assert (large == large[:1]).all()
    assert (large[0, [0, 700, 900, -1], 0] == [0, 0, 100, 100]).all()
    strong = np.where(levels > 0, 127, -128).astype(np.int16)
    assert set(np.unique(with_forms(plain(200, 320), strong))) >= {0, 255}
