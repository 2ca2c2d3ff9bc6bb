"""Faces of a photo count as kept where the picture has a face at the same place."""

import numpy as np
import pytest
from skimage import data

from nst_core.faces.face import Face
from nst_core.looks.faces import CLEAR, compare_faces
from nst_core.looks.planes import Pixels

PHOTO: Pixels = np.asarray(data.astronaut())  # type: ignore[no-untyped-call]


def face(left: float, top: float, *, side: float = 100, score: float = 0.93) -> Face:
    return Face(left=left, top=top, right=left + side, bottom=top + side, score=score)


def test_a_photo_keeps_all_of_its_faces() -> None:
    faces = [face(170, 60), face(300, 200)]
    kept = compare_faces(PHOTO, PHOTO, faces, faces)
    assert (kept.in_photo, kept.in_picture) == (2, 2)
    assert kept.ssim == pytest.approx(1)


@pytest.mark.parametrize(("moved_px", "again"), [(30, 1), (33, 1), (34, 0), (200, 0)])
def test_a_face_is_found_again_if_the_boxes_share_half(moved_px: float, again: int) -> None:
    kept = compare_faces(PHOTO, PHOTO, [face(100, 100)], [face(100 + moved_px, 100, score=0.71)])
    assert (kept.in_photo, kept.in_picture) == (1, again)


def test_faces_that_only_the_picture_has_do_not_count() -> None:
    kept = compare_faces(PHOTO, PHOTO, [], [face(10, 10)])
    assert (kept.in_photo, kept.in_picture, kept.ssim) == (0, 0, None)


def test_faces_that_are_not_clear_in_the_photo_do_not_count() -> None:
    faces = [face(170, 60, score=CLEAR - 0.01), face(300, 200, score=CLEAR)]
    assert compare_faces(PHOTO, PHOTO, faces, faces[:1]).in_photo == 1
    assert compare_faces(PHOTO, PHOTO, faces, faces[:1]).in_picture == 0


def test_similarity_is_that_inside_of_the_faces() -> None:
    picture = PHOTO.copy()
    picture[60:160, 170:270] = 255 - picture[60:160, 170:270]
    inside, outside, both = (
        compare_faces(PHOTO, picture, faces, []).ssim
        for faces in ([face(170, 60)], [face(300, 200)], [face(170, 60), face(300, 200)])
    )
    assert inside is not None
    assert inside < 0
    assert outside == pytest.approx(1)
    assert both == pytest.approx((inside + 1) / 2)


def test_a_box_beyond_the_edge_is_compared_where_it_is_on_the_photo() -> None:
    assert compare_faces(PHOTO, PHOTO, [face(-50, -50), face(480, 480)], []).ssim == pytest.approx(1)


@pytest.mark.parametrize("outside", [face(-50, 100, side=60), face(600, 600), face(-300, -300), face(100, 100, side=9)])
def test_what_is_too_small_on_the_photo_has_no_similarity(outside: Face) -> None:
    assert compare_faces(PHOTO, PHOTO, [outside], []).ssim is None
