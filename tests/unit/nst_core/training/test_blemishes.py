"""Detection of blotches, frames and grid marks: all are found, and nothing else."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from nst_core.training.blemishes import MAX_BLOTCHES, MAX_FRAME, MAX_GRID, Blemishes, find_blemishes
from tests.photos import pictures

Pixels = npt.NDArray[np.uint8]
PHOTOS = {name: np.array(image.resize((256, 192))) for name, image in pictures()}
each = pytest.mark.parametrize("photo", PHOTOS.values(), ids=PHOTOS)


def curved(photo: Pixels) -> Pixels:
    """Return a picture with other tones and colours, and more contrast in the middle."""
    tones = photo / 255
    smooth = tones * tones * (3 - 2 * tones)
    return (255 * smooth[..., ::-1]).astype(np.uint8)


def grainy(photo: Pixels) -> Pixels:
    """Return a picture with brush grain everywhere."""
    grain = np.random.default_rng(0).normal(0, 25, photo.shape)
    return (photo + grain).clip(0, 255).astype(np.uint8)


def negative(photo: Pixels) -> Pixels:
    return 255 - photo


def faint(photo: Pixels) -> Pixels:
    """Return a lighter picture with a third of the contrast."""
    return (150 + photo / 3).clip(0, 255).astype(np.uint8)


def blotched(photo: Pixels) -> Pixels:
    """Return a picture with single dark blotches of about a tile."""
    result = photo.copy()
    for top, left in ((16, 48), (64, 144), (112, 32), (144, 208), (80, 80)):
        spot = result[top : top + 18, left : left + 18]
        spot[:] = 255 * (spot.mean() < 128)
    return result


def framed(photo: Pixels) -> Pixels:
    """Return a picture with a dark edge of 4 px."""
    result = photo.copy()
    for side in (result[:4], result[-4:], result[:, :4], result[:, -4:]):
        side[:] = side // 4
    return result


def gridded(photo: Pixels) -> Pixels:
    """Return a picture in which every fourth column and row is lighter."""
    result = photo.astype(np.int64)
    result[:, ::4] += 25
    result[::4] += 25
    return result.clip(0, 255).astype(np.uint8)


@each
@pytest.mark.parametrize("style", [lambda photo: photo, curved, grainy, negative, faint])
def test_a_good_picture_has_no_blemishes(photo: Pixels, style: Callable[[Pixels], Pixels]) -> None:
    found = find_blemishes([(photo, style(photo))])
    assert found.blotches <= MAX_BLOTCHES
    assert found.frame <= MAX_FRAME
    assert found.grid <= MAX_GRID
    assert found.remarks == []


@each
def test_an_unchanged_photo_has_no_blemishes(photo: Pixels) -> None:
    assert find_blemishes([(photo, photo)]) == Blemishes(blotches=0.0, frame=0.0, grid=0.0)


@each
def test_blotches_are_found_and_nothing_else(photo: Pixels) -> None:
    found = find_blemishes([(photo, blotched(photo))])
    assert found.blotches > MAX_BLOTCHES
    assert [remark for remark in found.remarks if "blotches" in remark] == found.remarks


@each
def test_a_frame_is_found_and_nothing_else(photo: Pixels) -> None:
    found = find_blemishes([(photo, framed(photo))])
    assert found.frame > MAX_FRAME
    assert [remark for remark in found.remarks if "frame" in remark] == found.remarks


@each
@pytest.mark.parametrize("offset", range(4))
def test_a_grid_is_found_wherever_it_begins_and_nothing_else(photo: Pixels, offset: int) -> None:
    found = find_blemishes([(photo, np.roll(gridded(photo), offset, axis=(0, 1)))])
    assert found.grid > MAX_GRID
    assert [remark for remark in found.remarks if "grid" in remark] == found.remarks


@pytest.mark.parametrize("axis", [0, 1])
def test_a_grid_in_one_direction_is_found(axis: int) -> None:
    photo = PHOTOS["coffee"]
    lines = np.swapaxes(photo.astype(np.int64), 0, axis)
    lines[::4] += 25
    picture = np.swapaxes(lines, 0, axis).clip(0, 255).astype(np.uint8)
    assert find_blemishes([(photo, picture)]).grid > MAX_GRID


def test_marks_that_are_already_in_the_photo_do_not_count() -> None:
    for fault in (framed, gridded):
        photo = fault(PHOTOS["chelsea"])
        assert find_blemishes([(photo, photo)]).remarks == []
        assert find_blemishes([(photo, curved(photo))]).remarks == []


def test_an_object_in_the_photo_is_not_a_blotch() -> None:
    photo = blotched(PHOTOS["chelsea"])
    assert find_blemishes([(photo, curved(photo))]).blotches <= MAX_BLOTCHES


def test_a_large_area_of_another_tone_is_not_a_blotch() -> None:
    photo = np.full((192, 256, 3), 150, np.uint8)
    picture = np.full_like(photo, 40)
    picture[:, 128:] = 230
    assert find_blemishes([(photo, picture)]).blotches == 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_plain_pictures_have_no_blemishes(level: int) -> None:
    plain = np.full((64, 80, 3), level, np.uint8)
    for photo, picture in ((plain, plain), (PHOTOS["chelsea"], np.full_like(PHOTOS["chelsea"], level))):
        assert find_blemishes([(photo, picture)]).remarks == []


def test_blotches_in_a_plain_picture_are_found() -> None:
    plain = np.full((192, 256, 3), 200, np.uint8)
    assert find_blemishes([(plain, blotched(plain))]).blotches > MAX_BLOTCHES


def test_the_numbers_are_means_over_the_pairs() -> None:
    photo = PHOTOS["coffee"]
    clean, faulty = (photo, photo), (photo, blotched(framed(gridded(photo))))
    alone, both = find_blemishes([faulty]), find_blemishes([clean, faulty])
    assert alone.blotches > 0
    for name in ("blotches", "frame", "grid"):
        assert getattr(both, name) == pytest.approx(getattr(alone, name) / 2)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 79), (64, 500)])
def test_pictures_of_any_size_are_checked(height: int, width: int) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = find_blemishes([(photo, photo)])
    assert (found.blotches, found.frame, found.grid) == (0, 0, 0)
    assert find_blemishes([(photo, framed(photo))]).frame > MAX_FRAME


def test_each_fault_above_its_limit_is_one_sentence_with_its_number() -> None:
    assert Blemishes(blotches=MAX_BLOTCHES, frame=MAX_FRAME, grid=MAX_GRID).remarks == []
    assert Blemishes(blotches=0.1234, frame=0.2, grid=0.5).remarks == [
        "12.3% of the tiles are blotches.",
        "The edges differ by 20% of the full tone: a frame.",
        "There are grid marks: 50% more contrast at every fourth pixel.",
    ]
