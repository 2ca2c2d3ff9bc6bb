"""The sheet of a style: all pictures are complete, in order and side by side."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from nst_core.training.sheet import CELL_PX, preview_sheet

Pixels = npt.NDArray[np.uint8]
GAP_PX = 12
WIDTH_PX = 4 * CELL_PX + 5 * GAP_PX
PAPER = (250, 249, 246)
#: Colours that differ clearly from each other and from the paper.
COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (200, 0, 200), (0, 200, 200), (0, 0, 0), (90, 90, 90)]


def bordered(colour: tuple[int, int, int], width: int, height: int) -> Pixels:
    """Return a plain picture whose outer quarter has another tone of its colour."""
    picture = np.full((height, width, 3), colour, np.uint8)
    picture[height // 4 : -(height // 4), width // 4 : -(width // 4)] += 40
    return picture


def box(sheet: Pixels, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return the left, top, width and height of the area with a colour or its lighter tone."""
    given = sheet.astype(np.int16)
    near = np.zeros(sheet.shape[:2], bool)
    for tone in (0, 40):
        near |= (np.abs(given - (np.array(colour, np.int16) + tone)) < 12).all(2)
    ys, xs = np.nonzero(near)
    return int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1


def pairs(*sizes: tuple[int, int]) -> list[tuple[Pixels, Pixels]]:
    """Return pairs of pictures with some sizes, in the colours from the second on."""
    colours = iter(COLOURS[1:])
    return [(bordered(next(colours), *size), bordered(next(colours), *size)) for size in sizes]


SIZES = [
    [(300, 300)],
    [(640, 480), (480, 640)],
    [(640, 480), (200, 900), (900, 200)],
    [(50, 40), (1000, 64), (64, 1000)],
]


@pytest.mark.parametrize("painting", [(500, 400), (300, 900), (1500, 200)])
@pytest.mark.parametrize("sizes", SIZES)
def test_all_pictures_are_complete_and_do_not_overlap(painting: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    sheet = preview_sheet(bordered(COLOURS[0], *painting), pairs(*sizes)).rgb
    assert sheet.shape[1] == WIDTH_PX
    given = [painting, *[size for size in sizes for _ in range(2)]]
    boxes = [box(sheet, colour) for colour in COLOURS[: len(given)]]
    for (left, top, width, height), (own_width, own_height) in zip(boxes, given, strict=True):
        assert left >= GAP_PX
        assert left + width <= WIDTH_PX - GAP_PX
        assert top >= GAP_PX
        assert top + height <= len(sheet) - GAP_PX
        assert height <= CELL_PX
        assert width == pytest.approx(height * own_width / own_height, abs=1.01)
        # Its inner part is in the right place, so nothing was cropped.
        inner = sheet[top + height // 2, left : left + width].astype(np.int64).sum(1)
        share = float((inner > (inner.min() + inner.max()) / 2).mean())
        assert share == pytest.approx((own_width - 2 * (own_width // 4)) / own_width, abs=2 / width + 0.01)


def test_the_first_row_is_the_painting_and_a_pair_and_each_other_row_two_pairs() -> None:
    sheet = preview_sheet(bordered(COLOURS[0], 400, 300), pairs((400, 300), (320, 320), (500, 300))).rgb
    boxes = [box(sheet, colour) for colour in COLOURS[:7]]
    first, second = boxes[:3], boxes[3:]
    for row in (first, second):
        assert len({(top, height) for _, top, _, height in row}) == 1
        lefts = [left for left, *_ in row]
        assert lefts == sorted(lefts)
        for (left, _, width, _), (following, *_) in pairwise(row):
            assert following == left + width + GAP_PX
    assert second[0][1] == first[0][1] + first[0][3] + GAP_PX
    assert len(sheet) == first[0][3] + second[0][3] + 3 * GAP_PX


def test_a_row_is_as_wide_as_the_sheet_or_as_high_as_a_cell() -> None:
    wide = preview_sheet(bordered(COLOURS[0], 400, 300), pairs((400, 300), (800, 300), (800, 300))).rgb
    left, _, width, height = box(wide, COLOURS[6])
    assert WIDTH_PX - GAP_PX - 4 <= left + width <= WIDTH_PX - GAP_PX
    assert height < CELL_PX
    tall = preview_sheet(bordered(COLOURS[0], 300, 400), pairs((300, 400))).rgb
    assert {box(tall, colour)[3] for colour in COLOURS[:3]} == {CELL_PX}
    assert len(tall) == CELL_PX + 2 * GAP_PX


def test_a_sheet_may_have_only_the_painting() -> None:
    sheet = preview_sheet(bordered(COLOURS[0], 400, 300), [])
    assert box(sheet.rgb, COLOURS[0]) == (GAP_PX, GAP_PX, 640, CELL_PX)
    assert sheet.alpha is None


def test_empty_areas_have_the_colour_of_the_paper() -> None:
    sheet = preview_sheet(bordered(COLOURS[0], 300, 400), pairs((300, 400))).rgb
    for spot in (sheet[0, 0], sheet[-1, -1], sheet[GAP_PX, -1 - GAP_PX], sheet[len(sheet) // 2, GAP_PX - 1]):
        assert tuple(spot) == PAPER


def test_a_full_row_has_room_for_its_last_picture() -> None:
    # At a height of 300 px their widths all end in a half: rounded up, they are wider than the sheet.
    sizes = [(963, 600), (963, 600), (963, 600), (951, 600)]
    first, second, third, last = (bordered(colour, *size) for colour, size in zip(COLOURS[3:], sizes, strict=False))
    first_row = (bordered(COLOURS[1], 30, 40), bordered(COLOURS[2], 30, 40))
    sheet = preview_sheet(bordered(COLOURS[0], 30, 40), [first_row, (first, second), (third, last)]).rgb
    assert (sheet[:, -GAP_PX:] == PAPER).all()
    _, _, width, height = box(sheet, COLOURS[6])
    assert height == 300
    assert width == pytest.approx(height * 951 / 600, abs=1.01)


def test_very_narrow_pictures_are_lines_and_not_an_error() -> None:
    band = np.zeros((1, 5000, 3), np.uint8)
    assert preview_sheet(band, [(band, band)]).rgb.shape == (1 + 2 * GAP_PX, WIDTH_PX, 3)
