"""Changes of the look between sizes and by cropping, of painters that are known."""

import numpy as np
import pytest

from nst_core.looks.planes import Pixels
from nst_core.looks.steadiness import Paint, change_between_sizes, change_by_cropping, mean_difference
from tests.photos import pictures

PHOTO = np.array(next(pictures())[1].resize((256, 192)))


def keeping(photo: Pixels) -> Pixels:
    return photo


def inverting(photo: Pixels) -> Pixels:
    picture: Pixels = 255 - photo
    return picture


def lightening_large_ones(photo: Pixels) -> Pixels:
    """Paint a photo of more than 20,000 pixels 20 grey levels lighter."""
    picture: Pixels = photo // 2 + np.uint8(20 * (photo.shape[0] * photo.shape[1] > 20_000))
    return picture


def to_its_mean(photo: Pixels) -> Pixels:
    """Paint one tone, that of the whole photo."""
    return np.full_like(photo, photo.mean())


@pytest.mark.parametrize("paint", [keeping, inverting])
def test_a_look_that_does_not_depend_on_size_hardly_changes(paint: Paint) -> None:
    assert change_between_sizes(paint, PHOTO, small_pixels=10_000, large_pixels=40_000) < 2.5


def test_a_look_that_depends_on_size_changes_by_as_much() -> None:
    found = change_between_sizes(lightening_large_ones, PHOTO, small_pixels=10_000, large_pixels=40_000)
    assert found == pytest.approx(20, abs=1)


def test_photos_are_painted_in_the_sizes_that_were_asked_for() -> None:
    seen: list[int] = []

    def paint(photo: Pixels) -> Pixels:
        seen.append(photo.shape[0] * photo.shape[1])
        return photo

    change_between_sizes(paint, PHOTO, small_pixels=10_000, large_pixels=90_000)
    assert sorted(seen) == pytest.approx([10_000, 90_000], rel=0.01)


@pytest.mark.parametrize("paint", [keeping, inverting])
def test_a_look_that_depends_on_nothing_else_does_not_change_by_cropping(paint: Paint) -> None:
    assert change_by_cropping(paint, PHOTO, paint(PHOTO)) == 0


def test_a_look_that_depends_on_the_whole_changes_by_cropping() -> None:
    photo = np.zeros((192, 256, 3), np.uint8)
    photo[32:160, 43:213] = 90  # the crop
    whole = to_its_mean(photo)
    assert change_by_cropping(to_its_mean, photo, whole) == pytest.approx(90 - int(photo.mean()), abs=2)


def test_a_change_at_the_new_edge_does_not_count() -> None:
    def with_frame(photo: Pixels) -> Pixels:
        framed = photo.copy()
        framed[:8] = framed[-8:] = 0
        return framed

    assert change_by_cropping(with_frame, PHOTO, with_frame(PHOTO)) == 0


def test_a_difference_is_a_mean_of_absolute_values() -> None:
    assert mean_difference(np.array([[[0, 255, 10]]], np.uint8), np.array([[[255, 0, 10]]], np.uint8)) == 170
