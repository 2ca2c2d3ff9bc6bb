"""Tests of nst_core.images.png_encoding."""

import io

import numpy as np
import pytest
from PIL import Image

from nst_core.images.png_encoding import encode_png


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (33, 48), (700, 1000), (3, 90_000)])
def test_pillow_reads_the_same_samples(size: tuple[int, int], channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (*size, channels), np.uint8)
    with Image.open(io.BytesIO(encode_png(samples))) as image:
        assert image.mode == ("RGB" if channels == 3 else "RGBA")
        assert np.array_equal(np.asarray(image), samples)


def test_a_photo_takes_little_more_than_pillow_makes_of_it() -> None:
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    photo = coarse.resize((640, 480), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    photo.save(file, "PNG")
    assert len(encode_png(np.asarray(photo))) < 1.3 * file.tell()


def test_equal_samples_give_equal_bytes() -> None:
    samples = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    assert encode_png(samples) == encode_png(samples.copy())
