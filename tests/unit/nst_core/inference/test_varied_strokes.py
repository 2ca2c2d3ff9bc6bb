"""Tests of nst_core.inference.varied_strokes."""

import numpy as np
import pytest
from PIL import Image

from nst_core.inference.stylizer import Pixels
from nst_core.inference.varied_strokes import layer_weights


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
def test_layers_follow_the_contrast_of_a_photo_at_every_size(size: tuple[int, int]) -> None:
    middle, fine = layer_weights(scene(*size))
    assert middles(middle)[0] == middles(fine)[0] == 0, "nothing lies over the broad strokes of the flat third"
    assert middles(middle)[1] > 200, "waves have those of the middle size"
    assert middles(fine)[1] < 100
    assert middles(fine)[2] == 255, "lines have the fine ones"
    assert (middle >= fine).all()


def test_edges_are_soft() -> None:
    for weight in layer_weights(scene(320, 480)):
        assert np.abs(np.diff(weight.astype(int), axis=1)).max() < 80


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (16, 3)])
def test_tiny_photos_have_weights_too(size: tuple[int, int]) -> None:
    for weight in layer_weights(np.zeros((*size, 3), np.uint8)):
        assert not weight.any()


def test_the_photo_stays_as_it_is() -> None:
    photo = np.asarray(Image.fromarray(scene(100, 150)))
    before = photo.copy()
    layer_weights(photo)
    np.testing.assert_array_equal(photo, before)
