"""Large faces are painted in fine strokes; small ones, and all around them, stay as in the photo."""

import numpy as np
import pytest

from nst_core.faces.face import Face
from nst_core.inference.luminance import grey_levels
from nst_core.inference.painted_faces import with_painted_faces
from nst_core.inference.strokes import Stroke
from nst_core.inference.stylizer import Pixels

LARGE = Face(left=100, top=80, right=300, bottom=330, score=0.9)
SMALL = Face(left=400, top=60, right=480, bottom=160, score=0.9)


def photo(height: int = 400, width: int = 600) -> Pixels:
    rows, columns = np.arange(height)[:, None], np.arange(width)
    return np.stack(np.broadcast_arrays(rows * 255 // height, columns * 255 // width, 100), axis=2).astype(np.uint8)


class Counted:
    """A network that inverts photos, and remembers the sizes of those that it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, copy: Pixels) -> Pixels:
        self.seen.append(copy.shape[:2])
        return 255 - copy


def middle(face: Face) -> tuple[int, int]:
    return round((face.top + face.bottom) / 2), round((face.left + face.right) / 2)


def test_a_large_face_is_enlarged_and_painted_and_a_small_one_stays() -> None:
    paint, own = Counted(), photo()
    result = with_painted_faces(own, [LARGE, SMALL], None, paint)
    ((height, width),) = paint.seen
    # Twice as large as in the photo, and a little more than the face.
    assert 1.3 * 400 < width < 1.6 * 400
    assert 1.4 * 500 < height <= 1.9 * 500
    changed = (result != own).any(axis=2)
    assert changed[middle(LARGE)]
    assert not changed[:, 350:].any()
    assert not changed[:, :50].any()
    # 80 % of the change.
    expected = own[middle(LARGE)] + 0.8 * (255 - 2.0 * own[middle(LARGE)])
    np.testing.assert_allclose(result[middle(LARGE)], expected, atol=3)
    np.testing.assert_array_equal(own, photo())


def test_a_photo_without_large_faces_is_the_same_object() -> None:
    own = photo()
    assert with_painted_faces(own, [SMALL], None, Counted()) is own
    assert with_painted_faces(own, [], "varied", Counted()) is own


def test_a_face_between_small_and_large_is_painted_less() -> None:
    medium = Face(left=100, top=80, right=220, bottom=230, score=0.9)
    own = photo()
    change = with_painted_faces(own, [medium], None, Counted())[middle(medium)] - own[middle(medium)].astype(float)
    np.testing.assert_allclose(change, 0.4 * (255 - 2.0 * own[middle(medium)]), atol=3)


@pytest.mark.parametrize(
    ("stroke", "size"),
    # The face has 200 px in what the network paints with a stroke of 1, so that it is enlarged twice; with half of the
    # stroke it has 400 px, and the network paints it in that size.
    [(1.0, 400), (0.5, 400), ("varied", 400), (0.25, 800)],
)
def test_a_face_is_as_large_as_the_stroke_of_the_picture_needs(stroke: Stroke, size: int) -> None:
    paint = Counted()
    with_painted_faces(photo(), [LARGE], stroke, paint)
    ((_, width),) = paint.seen
    assert 1.3 * size < width < 1.6 * size


def test_with_broad_strokes_a_face_counts_as_small() -> None:
    assert with_painted_faces(photo(), [LARGE], 2.5, Counted())[middle(LARGE)].tolist() == (
        photo()[middle(LARGE)].tolist()
    )


def test_a_face_of_a_large_photo_is_not_painted_in_its_full_size() -> None:
    paint = Counted()
    large = Face(left=1000, top=800, right=2000, bottom=2050, score=0.9)
    with_painted_faces(photo(3000, 4000), [large], "fine", paint)
    ((_, width),) = paint.seen
    assert 1.3 * 400 < width < 1.6 * 400


def test_a_face_at_the_edge_is_left_if_the_network_cannot_paint_so_little() -> None:
    edge = Face(left=-190, top=80, right=10, bottom=330, score=0.9)
    paint, own = Counted(), photo()
    assert with_painted_faces(own, [edge], None, paint, min_side_px=64) is own
    assert with_painted_faces(own, [edge], None, paint, min_side_px=16) is not own
    assert len(paint.seen) == 1


def test_weak_painting_and_the_colours_of_the_photo_are_as_elsewhere() -> None:
    own = 100 + photo() // 4
    np.testing.assert_array_equal(with_painted_faces(own, [LARGE], None, Counted(), strength=0.0), own)
    kept = with_painted_faces(own, [LARGE], None, Counted(), preserve_color=True)
    assert (kept != own).any()
    colours, expected = (picture - grey_levels(picture)[..., None] for picture in (kept, own))
    np.testing.assert_allclose(colours, expected, atol=2)
