"""Tests of nst_core.images.tiff."""

import numpy as np
import pytest
from PIL import Image

from nst_core.errors import ImageFormatError
from nst_core.images import decode
from tests.unit.nst_core.images.picture_files import (
    saved,
    smooth,
    tiff,
    tiff_grey16,
)


def test_compressed_tiff_with_orientation_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(smooth()), "TIFF", exif=exif, compression="tiff_lzw")
    np.testing.assert_array_equal(decode(data).rgb, np.rot90(smooth(), -1))


def test_16_bit_grey_where_0_is_white_is_inverted() -> None:
    samples = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    rgb = decode(tiff_grey16(32, 32, samples.astype("<u2").tobytes(), photometric=0)).rgb
    np.testing.assert_array_equal(rgb[:, :, 1], 255 - np.round(samples / 257).astype(np.uint8))


def test_12_bit_grey_is_scaled_from_its_own_range() -> None:
    pairs = bytes((0xFF, 0xF0, 0x00)) * (32 * 32 // 2)  # white and black alternate
    rgb = decode(tiff_grey16(32, 32, pairs, bits=12)).rgb
    assert (rgb[:, ::2] == 255).all()
    assert (rgb[:, 1::2] == 0).all()


def test_more_samples_a_pixel_than_any_printer_has_are_refused() -> None:
    samples = np.full((16, 16, 64), 255, np.uint8)
    assert (decode(tiff(samples)).rgb == 255).all()
    with pytest.raises(ImageFormatError, match="65 samples a pixel; supported are at most 64"):
        decode(tiff(np.concatenate((samples, samples[..., :1]), axis=2)))
