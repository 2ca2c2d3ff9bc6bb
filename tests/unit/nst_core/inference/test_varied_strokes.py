"""Tests of nst_core.inference.varied_strokes."""

import numpy as np
import pytest
from PIL import Image

from nst_core.inference.stylizer import Pixels
from nst_core.inference.varied_strokes import Ground, contrasts


def scene(height: int, width: int) -> Pixels:
    """Return a photo with a flat third, one of gentle waves, and one of hard lines, from left to right."""
    x = np.arange(width)
    waves = 128 + 18 * np.sin(x / width * 40 * np.pi)
    lines = np.where((x * 60 // width) % 2, 40, 220)
    row = np.select([x < width // 3, x < 2 * width // 3], [np.full(width, 128.0), waves], lines)
    return np.repeat(np.tile(row.astype(np.uint8), (height, 1))[:, :, None], 3, 2)


def middles(weight: Pixels) -> list[int]:
    """Return a weight in the middle of each third."""
    height, width = weight.shape
    return [int(weight[height // 2, width * place // 6]) for place in (1, 3, 5)]


@pytest.mark.parametrize("size", [(200, 300), (640, 960), (2000, 3000)])
def test_parts_are_told_apart_by_their_contrast_at_every_size(size: tuple[int, int]) -> None:
    some, fine = contrasts(scene(*size))
    assert middles(some)[0] == middles(fine)[0] == 0, "the flat third has none"
    assert middles(some)[1] > 200, "waves have some"
    assert middles(fine)[1] < 100
    assert middles(fine)[2] == 255, "lines are fine"
    assert (some >= fine).all()


@pytest.mark.parametrize("size", [(200, 300), (640, 960), (2000, 3000)])
def test_less_of_the_layer_below_is_seen_where_a_photo_has_more_to_tell(size: tuple[int, int]) -> None:
    ground = Ground.of(scene(*size))
    flat, waves, lines = middles(ground.seen)
    assert (flat, lines) == (191, 64)
    assert 110 < waves < 145
    assert middles(ground.flat)[0] == 255
    assert middles(ground.flat)[2] == 0


@pytest.mark.parametrize("size", [(200, 300), (7, 9)])
def test_nothing_is_below_where_strokes_are_not_to_be_broad(size: tuple[int, int]) -> None:
    everywhere, photo = Ground.of(scene(200, 300)), scene(200, 300)
    broad = np.zeros(size, np.uint8)
    broad[:, : size[1] // 3] = 255
    ground = Ground.of(photo, broad)
    assert middles(ground.seen) == [middles(everywhere.seen)[0], 0, 0]
    assert middles(ground.flat) == [255, 0, 0]


def test_edges_are_soft() -> None:
    for weight in contrasts(scene(320, 480)):
        assert np.abs(np.diff(weight.astype(int), axis=1)).max() < 80


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (16, 3)])
def test_tiny_photos_have_weights_too(size: tuple[int, int]) -> None:
    photo = np.zeros((*size, 3), np.uint8)
    for weight in contrasts(photo):
        assert not weight.any()
    ground = Ground.of(photo, np.full((640, 2), 255, np.uint8))
    assert ground.flat.min() == 255
    assert ground.seen.min() == ground.seen.max() == 191


def test_the_photo_stays_as_it_is() -> None:
    photo = np.asarray(Image.fromarray(scene(100, 150)))
    before = photo.copy()
    Ground.of(photo, np.full((5, 5), 99, np.uint8))
    np.testing.assert_array_equal(photo, before)
