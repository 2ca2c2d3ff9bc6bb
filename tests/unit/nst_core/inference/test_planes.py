"""Tests of nst_core.inference.planes."""

from hashlib import sha256
from math import cos, radians, sin

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from nst_core.inference.blend import Weight
from nst_core.inference.planes import SIDE_PX, flat_parts, lines, planes
from nst_core.inference.stylizer import Pixels


def roof(height: int = 200, width: int = 320, *, angle: float = 30.0) -> Pixels:
    """A dark half plane at the lower left, whose edge ends in the middle of a light sky."""
    # Drawn larger, so that the edge is soft.
    image = Image.new("RGB", (4 * width, 4 * height), (200, 200, 200))
    middle, across = (2 * width, 2 * height), (4 * width * cos(radians(angle)), 4 * width * sin(radians(angle)))
    corners = [middle, (middle[0] - across[0], middle[1] + across[1]), (middle[0], 8 * height)]
    ImageDraw.Draw(image).polygon(corners, fill=(60, 60, 60))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def everywhere(photo: Pixels) -> Weight:
    return np.full(photo.shape[:2], 255, np.uint8)


@pytest.mark.parametrize("angle", [0, 12, 30, 45, 71, 90, 120, 158])
def test_the_first_line_is_the_longest_edge(angle: int) -> None:
    image = Image.new("RGB", (1280, 1280), (200, 200, 200))
    across, down = cos(radians(angle)), -sin(radians(angle))
    # An edge through the middle, and what is on one side of it.
    ends = [(640 - 900 * across, 640 - 900 * down), (640 + 900 * across, 640 + 900 * down)]
    far = [(x - 2000 * down, y + 2000 * across) for x, y in reversed(ends)]
    ImageDraw.Draw(image).polygon([*ends, *far], fill=(60, 60, 60))
    photo = np.asarray(image.resize((320, 320), Image.Resampling.BOX))
    found = lines(photo, everywhere(photo))[0]
    assert abs(across * found.cos + down * found.sin) < sin(radians(1.5))  # the line's normal is across the edge
    assert abs(found.place) < 3 / 320


def test_an_edge_runs_on_through_the_sky_which_is_lighter_on_one_side_of_it() -> None:
    photo = roof()
    levels = planes(photo)
    assert levels.shape == (400, SIDE_PX)
    # Some 45 pixels to the right of where the edge ends, above and below the line that it is on.
    x, y = 410, 200 - round(90 * sin(radians(30)) / cos(radians(30)))
    above, below = levels[y - 14 : y - 6, x], levels[y + 6 : y + 14, x]
    assert above.mean() - below.mean() > 25, "the sky above a dark roof is the lighter side"


def squares() -> Pixels:
    """Squares of a few pixels in random colours."""
    return np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8).repeat(5, 0).repeat(5, 1)


def test_lines_differ_from_each_other() -> None:
    photo = squares()
    found = lines(photo, everywhere(photo))
    assert len(found) > 20
    for number, line in enumerate(found):
        for other in found[:number]:
            turned = abs(line.cos * other.sin - line.sin * other.cos)
            same = line.cos * other.cos + line.sin * other.sin > 0
            aside = abs(line.place - (other.place if same else -other.place))
            assert turned > sin(radians(4)) or aside > 0.03


def test_weaker_lines_have_less_light() -> None:
    photo = squares()
    found = lines(photo, everywhere(photo))
    strongest, weakest = (max(abs(line.light) for line in part) for part in (found[:5], found[-5:]))
    assert weakest < strongest / 2


def test_the_side_that_is_lighter_is_that_of_the_edge() -> None:
    left = np.full((200, 320, 3), 60, np.uint8)
    left[:, :100] = 200
    for photo, light in ((left, -1), (255 - left, 1)):
        (line,) = lines(photo, everywhere(photo))
        assert (line.cos, line.light) == (1, light)


def test_lines_run_through_what_is_flat() -> None:
    photo = np.full((200, 320, 3), 200, np.uint8)
    photo[:, 20:300:40] = 60
    flat = everywhere(photo)
    flat[:, 160:] = 0
    found = lines(photo, flat)
    assert len(found) > 3
    assert all(line.place < 0.05 for line in found)


def test_planes_are_only_where_the_photo_is_flat() -> None:
    photo = roof().copy()
    photo[:, 160:] = np.random.default_rng(0).integers(0, 256, (200, 160, 3), np.uint8)
    levels = planes(photo)
    assert np.abs(levels[:, :280]).mean() > 5
    assert not levels[:, 340:].any()


def test_a_weight_keeps_them_away() -> None:
    photo, weight = roof(), np.full((20, 32), 255, np.uint8)
    weight[:, 16:] = 0
    levels = planes(photo, [weight])
    assert np.abs(levels[:, :300]).mean() > 5
    assert not levels[:, 340:].any()


def test_a_photo_without_edges_gets_none() -> None:
    assert not planes(np.full((200, 320, 3), 128, np.uint8)).any()


def test_a_copy_is_flat_where_it_has_little_contrast() -> None:
    photo = np.full((200, 320, 3), 128, np.uint8)
    photo[:, 160:] = np.random.default_rng(0).integers(0, 256, (200, 160, 3), np.uint8)
    flat = flat_parts(photo)
    assert (flat[:, :140] == 255).all()
    assert (flat[:, 180:] == 0).all()


@pytest.mark.parametrize("longer", [160, 256, 480, 900, 1280])
def test_the_same_photo_has_about_the_same_planes_at_every_size(longer: int) -> None:
    photo = Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]
    expected = planes(np.asarray(photo)).ravel()
    copy = np.asarray(photo.resize((longer, longer), Image.Resampling.LANCZOS))
    assert np.corrcoef(planes(copy).ravel(), expected)[0, 1] > 0.8


@pytest.mark.parametrize("size", [(1, 1), (1, 320), (16, 3), (3, 2000)])
def test_tiny_photos_are_photos_too(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert max(planes(photo).shape) == SIDE_PX


def test_they_are_the_same_on_every_processor_and_the_photo_stays_as_it_is() -> None:
    photo = roof()
    assert sha256(planes(photo).tobytes()).hexdigest().startswith("cba6e967832dc2d1")
    assert np.array_equal(photo, roof())
