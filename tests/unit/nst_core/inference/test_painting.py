"""Tests of nst_core.inference.painting."""

import numpy as np
import pytest
from PIL import Image

from nst_core.inference.forms import NO_FORMS, with_forms
from nst_core.inference.painting import in_strokes, margin
from nst_core.inference.planes import planes
from nst_core.inference.strokes import Stroke, carried_over, copy_to_paint
from nst_core.inference.stylizer import Pixels


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def inside(seen: Pixels) -> Pixels:
    """Return what the network sees without its margin."""
    down, across = (margin(without_margin(side)) for side in seen.shape[:2])
    return seen[down : seen.shape[0] - down, across : seen.shape[1] - across].copy()


def without_margin(side: int) -> int:
    return next(own for own in range(side + 1) if own + 2 * margin(own) == side)


def inverted(photo: Pixels) -> Pixels:
    return 255 - photo


def house() -> Pixels:
    """A dark house, whose walls end below an empty sky."""
    photo = np.full((200, 300, 3), 200, np.uint8)
    photo[100:, 100:180] = 60
    return photo


@pytest.mark.parametrize("stroke", [None, 1.0])
def test_the_network_paints_the_photo_itself_unless_strokes_have_another_size(stroke: Stroke | None) -> None:
    photo, seen = noise(20, 30), list[Pixels]()

    def paint(copy: Pixels) -> Pixels:
        seen.append(copy)
        return inverted(copy)

    np.testing.assert_array_equal(in_strokes(photo, stroke, paint), 255 - photo)
    assert seen[0] is photo


def test_the_change_of_a_copy_is_carried_over() -> None:
    photo = noise(40, 60)
    copy = copy_to_paint(photo, (20, 30))
    np.testing.assert_array_equal(in_strokes(photo, 2.0, inverted), carried_over(photo, copy, inverted(copy)))


def test_finer_strokes_are_painted_over_broader_ones() -> None:
    photo, seen, made = house(), list[Pixels](), list[Pixels]()

    def paint(copy: Pixels) -> Pixels:
        seen.append(inside(copy))
        made.append(inverted(seen[-1]))
        return inverted(copy)

    levels = np.zeros((200, 300), np.int16)
    result = in_strokes(photo, "varied", paint, forms=levels)
    assert [copy.shape[:2] for copy in seen] == [(50, 75), (100, 150), (200, 300)]
    np.testing.assert_array_equal(seen[0], copy_to_paint(photo, (50, 75)))
    np.testing.assert_array_equal(result, made[-1])
    # In the empty sky the network sees a quarter of the photo, and three of what it has painted before.
    for below, copy, size in ((made[0], seen[1], (100, 150)), (made[1], seen[2], (200, 300))):
        sky = (slice(0, size[0] // 4), slice(0, size[1] // 4))
        wanted = 0.25 * copy_to_paint(photo, size)[sky] + 0.75 * copy_to_paint(below, size)[sky]
        assert np.abs(copy[sky] - wanted).max() < 1.5


def test_faces_are_painted_as_if_nothing_were_below() -> None:
    photo, seen = house(), list[Pixels]()

    def paint(copy: Pixels) -> Pixels:
        seen.append(inside(copy))
        return inverted(copy)

    broad = np.full((20, 30), 255, np.uint8)
    broad[:, 15:] = 0
    in_strokes(photo, "varied", paint, broad=broad)
    np.testing.assert_array_equal(seen[-1][:, 160:], photo[:, 160:])
    assert not np.array_equal(seen[-1][:, :140], photo[:, :140])


def test_the_photo_stays_as_it_is_when_layers_are_laid_over_each_other() -> None:
    photo = noise(64, 96)
    before = photo.copy()
    in_strokes(photo, "varied", inverted)
    np.testing.assert_array_equal(photo, before)


def test_a_large_photo_is_painted_in_layers_of_a_megapixel_at_most() -> None:
    sizes: list[tuple[int, ...]] = []

    def paint(copy: Pixels) -> Pixels:
        sizes.append(inside(copy).shape[:2])
        return copy

    photo = noise(2000, 3000)
    assert in_strokes(photo, "varied", paint).shape == photo.shape
    assert sizes == [(204, 306), (408, 612), (816, 1225)]


@pytest.mark.parametrize(("stroke", "least"), [(4.0, 16), ("varied", 16 + 2 * margin(16))])
def test_no_copy_is_too_small_for_the_network(stroke: Stroke, least: int) -> None:
    sides: list[int] = []

    def paint(copy: Pixels) -> Pixels:
        sides.append(min(copy.shape[:2]))
        return copy

    in_strokes(np.zeros((40, 60, 3), np.uint8), stroke, paint, min_side_px=16)
    assert min(sides) == least


def test_the_network_sees_large_forms_in_the_flat_part_of_a_photo_and_no_change_in_the_other() -> None:
    photo = noise(200, 300)
    photo[:, :150] = 128
    seen: list[Pixels] = []

    def paint(copy: Pixels) -> Pixels:
        seen.append(inside(copy))
        below = copy_to_paint(photo, seen[-1].shape[:2])  # so that nothing of the layer below is seen
        return np.pad(below, [(margin(side), margin(side)) for side in below.shape[:2]] + [(0, 0)])

    in_strokes(photo, "varied", paint)
    assert len(seen) == 3
    fine = seen[-1].astype(int)
    assert fine[:, :120].std() > 8
    assert np.abs(fine[:, 180:] - photo[:, 180:]).mean() < 30
    # The same forms in all sizes.
    small = np.asarray(Image.fromarray(seen[-1]).resize(seen[0].shape[1::-1], Image.Resampling.BOX)).astype(int)
    part = seen[0].shape[1] * 2 // 5
    assert np.abs(small[:, :part] - seen[0][:, :part]).mean() < 3


def test_the_network_sees_forms_in_strokes_of_any_size() -> None:
    photo = house()
    levels = planes(photo)
    seen: list[Pixels] = []

    def paint(copy: Pixels) -> Pixels:
        seen.append(copy)
        return copy

    in_strokes(photo, None, paint, forms=levels)
    np.testing.assert_array_equal(seen[0], with_forms(photo, levels))
    in_strokes(photo, 2.0, paint, forms=levels)
    copy = copy_to_paint(photo, (100, 150))
    np.testing.assert_array_equal(seen[1], with_forms(copy, levels))


@pytest.mark.parametrize("stroke", [None, "varied"])
def test_forms_are_as_strong_as_the_network_paints(stroke: Stroke | None) -> None:
    photo = np.full((200, 300, 3), 128, np.uint8)
    levels = np.full((200, 320), 40, np.int16)
    forms = None if stroke == "varied" else levels
    deviations = []
    for strength in (0.0, 0.25, 1.0):
        painted = in_strokes(photo, stroke, lambda copy: copy, forms=forms, strength=strength)
        deviations.append(np.abs(painted.astype(int) - 128).mean())
    assert deviations[0] == 0
    assert deviations[1] == pytest.approx(deviations[2] / 4, rel=0.1)


def test_flat_parts_stay_empty_without_forms() -> None:
    photo, seen = np.full((200, 300, 3), 128, np.uint8), list[Pixels]()

    def paint(copy: Pixels) -> Pixels:
        seen.append(copy.copy())
        return copy

    in_strokes(photo, "varied", paint, forms=NO_FORMS)
    assert all((copy == 128).all() for copy in seen)


def test_planes_take_the_place_of_clouds() -> None:
    photo = house()
    levels, seen = planes(photo), list[Pixels]()

    def paint(copy: Pixels) -> Pixels:
        seen.append(inside(copy))
        return copy

    in_strokes(photo, "varied", paint, forms=levels)
    np.testing.assert_array_equal(seen[0], with_forms(copy_to_paint(photo, (50, 75)), levels))


@pytest.mark.parametrize(
    ("stroke", "smears"), [(None, True), (1.0, True), ("auto", False), ("fine", False), ("varied", False)]
)
def test_what_a_network_does_at_its_edges_is_not_in_the_picture(stroke: Stroke | None, smears: bool) -> None:
    def frame(copy: Pixels) -> Pixels:
        painted = np.full_like(copy, 100)
        painted[:4], painted[-4:], painted[:, :4], painted[:, -4:] = 255, 255, 255, 255
        return painted

    assert (in_strokes(house(), stroke, frame) > 200).any() == smears
    # What lies beyond the edge is the photo again, mirrored.
    seen: list[Pixels] = []

    def paint(copy: Pixels) -> Pixels:
        seen.append(copy)
        return copy

    in_strokes(noise(40, 60), "fine", paint)
    # Of 40 px, a margin is 10 px.
    assert seen[0].shape[:2] == (40 + 2 * 10, 60 + 2 * 15)
    np.testing.assert_array_equal(seen[0][:10], seen[0][20:10:-1])


def test_a_photo_smaller_than_the_margin_has_one() -> None:
    for height, width in ((1, 1), (1, 40), (5, 3)):
        photo = noise(height, width)
        np.testing.assert_array_equal(in_strokes(photo, "fine", inverted), 255 - photo)
