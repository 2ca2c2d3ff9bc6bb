"""Inside of faces painting is weaker, with a soft edge; everywhere else nothing changes."""

import numpy as np
import pytest

from nst_core.faces.face import Face
from nst_core.faces.protection import Weight, near_faces, protect, without_faces

#: How strongly the middle of the face below is painted: its box has a fifth of the photo's width.
LOWEST = 110
#: In a photo of 400 x 300 px.
FACE = Face(left=100, top=60, right=180, bottom=160, score=0.9)
FAR = Face(left=300, top=180, right=360, bottom=250, score=0.9)


def plane(*faces: Face, height: int = 300, width: int = 400) -> Weight:
    result = protect(faces, height=height, width=width)
    assert result.dtype == np.uint8
    return result


def scaled(face: Face, factor: float) -> Face:
    return Face(
        left=factor * face.left, top=factor * face.top, right=factor * face.right, bottom=factor * face.bottom, score=1
    )


def test_without_faces_everything_is_painted() -> None:
    assert (plane() == 255).all()


def test_a_face_is_painted_less_and_its_surroundings_are_not() -> None:
    found = plane(FACE)
    assert found.shape == (300, 400)
    middle_x, middle_y = 140, 102
    assert (found[middle_y - 20 : middle_y + 20, middle_x - 12 : middle_x + 12] == LOWEST).all()
    outside = np.ones(found.shape, bool)
    outside[20:185, 85:195] = False
    assert (found[outside] == 255).all()


def test_what_is_kept_away_from_a_face_is_kept_away_from_all_of_it() -> None:
    found = without_faces([FACE], height=300, width=400)
    protected = plane(FACE)
    # Where a protected face is not yet painted fully, nearly all is kept away.
    assert (found[protected < 200] == 0).all()
    assert (found[protected == 255] > 0).all()
    assert (found[0, 0], found[102, 140]) == (255, 0)
    # A large photo has a smaller plane.
    assert without_faces([scaled(FACE, 10)], height=3000, width=4000).shape == (480, 640)
    assert (without_faces([], height=300, width=400) == 255).all()


def test_near_a_face_is_more_than_the_face_and_nothing_that_is_transparent() -> None:
    near = near_faces([FACE], height=300, width=400)
    assert (near[plane(FACE) < 255] == 255).all()
    assert (near[:, 250:] == 0).all()
    opacity = np.full((30, 40), 255, np.uint8)
    opacity[:, :14] = 0
    seen = near_faces([FACE], height=300, width=400, opacity=opacity)
    assert (seen[:, :130] == 0).all()
    np.testing.assert_array_equal(seen[:, 150:], near[:, 150:])


def test_the_forehead_above_the_box_is_painted_less_too() -> None:
    found = plane(FACE)
    assert found[round(FACE.top) - 10, 140] < found[round(FACE.bottom) + 10, 140] < 255


@pytest.mark.parametrize(("size", "reach"), [(1.0, 1.3), (0.3, 1.6), (0.2, 1.9), (0.1, 2.0)])
def test_around_a_small_face_more_is_painted_less(size: float, reach: float) -> None:
    lowered = plane(scaled(FACE, size)) < 255
    assert lowered.any(axis=0).sum() == pytest.approx(reach * size * FACE.width, abs=2)


def test_the_edge_is_soft() -> None:
    across = plane(FACE)[102, 140:].astype(int)
    steps = np.diff(across)
    assert (steps >= 0).all()
    assert steps.max() < 12
    assert across[-1] == 255


def test_faces_that_touch_are_painted_as_one_face_is() -> None:
    beside = Face(left=140, top=60, right=220, bottom=160, score=0.9)
    found = plane(FACE, beside)
    assert found.min() == LOWEST
    np.testing.assert_array_equal(found, np.minimum(plane(FACE), plane(beside)))


@pytest.mark.parametrize(("share", "lowest"), [(0.02, 102), (0.15, 102), (0.3, 128), (0.45, 153), (0.9, 153)])
def test_a_large_face_is_painted_more_than_a_small_one(share: float, lowest: int) -> None:
    half = 200 * share
    face = Face(left=200 - half, top=150 - half, right=200 + half, bottom=150 + half, score=1)
    assert plane(face).min() == pytest.approx(lowest, abs=1)
    assert (without_faces([face], height=300, width=400) == 0).any()


def test_large_photos_have_a_plane_of_the_same_shape() -> None:
    found = plane(scaled(FACE, 10), height=3000, width=4000)
    assert found.shape == (480, 640)
    small = plane(scaled(FACE, 1.6), height=480, width=640)
    assert np.abs(found.astype(int) - small).max() <= 4


@pytest.mark.parametrize(
    "face",
    [
        Face(left=-60, top=-80, right=40, bottom=30, score=1),
        Face(left=390, top=290, right=420, bottom=330, score=1),
        Face(left=1000, top=20, right=1050, bottom=90, score=1),
        Face(left=-500, top=-500, right=-400, bottom=-400, score=1),
        Face(left=20.2, top=20.2, right=20.3, bottom=20.3, score=1),
        Face(left=-1000, top=-1000, right=2000, bottom=2000, score=1),
    ],
)
def test_faces_may_be_of_any_size_and_partly_or_wholly_outside(face: Face) -> None:
    found = plane(face)
    assert 102 <= found.min() <= found.max() <= 255


def test_differences_in_the_last_digits_of_a_box_do_not_count() -> None:
    other = Face(left=100.0001, top=60.0002, right=179.9998, bottom=160.0001, score=0.8)
    np.testing.assert_array_equal(plane(FACE), plane(other))
