"""Boxes of faces: how much they overlap, and which are of one face."""

import pytest

from nst_core.faces.face import Face, without_repeats


def face(left: float, top: float, right: float, bottom: float, *, score: float = 0.9) -> Face:
    return Face(left=left, top=top, right=right, bottom=bottom, score=score)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (face(0, 0, 10, 20), 1.0),
        (face(5, 0, 15, 20), 1 / 3),
        (face(0, 10, 10, 20), 0.5),
        (face(2, 4, 4, 9), 0.05),
        (face(10, 0, 20, 20), 0.0),
        (face(30, 40, 50, 60), 0.0),
        (face(-30, -40, -10, -5), 0.0),
    ],
)
def test_an_overlap_is_what_both_have_of_what_one_has(other: Face, expected: float) -> None:
    own = face(0, 0, 10, 20)
    assert own.overlap(other) == pytest.approx(expected)
    assert other.overlap(own) == pytest.approx(expected)


def test_of_boxes_that_overlap_the_surest_is_kept() -> None:
    first, repeat, second = face(0, 0, 10, 10, score=0.8), face(1, 0, 11, 10), face(40, 0, 50, 10, score=0.7)
    assert without_repeats([first, second, repeat], most_overlap=0.3) == (repeat, second)


def test_a_box_is_kept_if_only_a_box_that_is_gone_overlaps_it() -> None:
    sure, between, far = (face(left, 0, left + 10, 10, score=0.9 - left / 100) for left in (0, 4, 8))
    assert without_repeats([far, between, sure], most_overlap=0.3) == (sure, far)


def test_no_boxes_are_no_faces() -> None:
    assert without_repeats([], most_overlap=0.3) == ()
