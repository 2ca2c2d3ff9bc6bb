"""Tests of nst_core.images.encoding."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nst_core.errors import (
    ConfigError,
    ImageTooLargeError,
)
from nst_core.images import Picture, content_type, decode, encode
from tests.photos import pictures
from tests.unit.nst_core.images.picture_files import (
    difference,
    noise,
    smooth,
)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "JPG", ".png"])
def test_every_kind_of_result_is_read_back(suffix: str) -> None:
    data = encode(Picture(rgb=smooth()), suffix)
    assert difference(decode(data).rgb, smooth()) < 5
    assert Image.open(BytesIO(data)).get_format_mimetype() == content_type(suffix)
    assert data == encode(Picture(rgb=smooth()), suffix)


def test_png_is_exact_and_keeps_the_opacity() -> None:
    alpha = noise(48, 32)[:, :, 0]
    picture = decode(encode(Picture(rgb=np.full((32, 48, 3), 255, np.uint8), alpha=alpha), "png"))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(decode(encode(Picture(rgb=noise(48, 32)), "png")).rgb, noise(48, 32))


def test_webp_keeps_the_opacity_and_jpeg_drops_it() -> None:
    alpha = np.full((32, 48), 128, np.uint8)
    kept = decode(encode(Picture(rgb=smooth(), alpha=alpha), "webp")).alpha
    assert kept is not None
    np.testing.assert_array_equal(kept, alpha)
    assert decode(encode(Picture(rgb=smooth(), alpha=alpha), "jpg")).alpha is None


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_more_quality_takes_more_bytes(suffix: str) -> None:
    sizes = [len(encode(Picture(rgb=noise(64, 64)), suffix, quality=quality)) for quality in (1, 50, 89, 90, 100)]
    assert sizes == sorted(set(sizes))


def test_incompressible_pictures_are_encoded_at_full_quality() -> None:
    for suffix in ("jpg", "png", "webp"):
        assert decode(encode(Picture(rgb=noise(900, 700)), suffix, quality=100)).rgb.shape == (700, 900, 3)


@pytest.mark.parametrize("suffix", ["gif", "tiff", "", "exe"])
def test_other_kinds_of_results_are_refused(suffix: str) -> None:
    with pytest.raises(ConfigError, match="jpg, jpeg, png, webp"):
        content_type(suffix)
    with pytest.raises(ConfigError):
        encode(Picture(rgb=smooth()), suffix)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_out_of_range_is_refused(quality: int) -> None:
    with pytest.raises(ConfigError, match="quality"):
        encode(Picture(rgb=smooth()), "jpg", quality=quality)


def test_a_side_longer_than_the_format_allows_is_refused() -> None:
    strip = Picture(rgb=np.zeros((16, 16_384, 3), np.uint8))
    with pytest.raises(ImageTooLargeError, match="webp"):
        encode(strip, "webp")
    assert decode(encode(strip, "jpg")).rgb.shape == (16, 16_384, 3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (300, 1), (7, 5), (701, 389), (100_000, 2)])
@pytest.mark.parametrize("channels", [3, 4])
def test_png_is_exact_for_every_shape(width: int, height: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    samples[: height // 2] = 7  # flat, so that it is compressed
    alpha = samples[:, :, 3] if channels == 4 else None
    data = encode(Picture(rgb=samples[:, :, :3], alpha=alpha), "png")
    with Image.open(BytesIO(data)) as image:
        image.verify()  # the checksums
    with Image.open(BytesIO(data)) as image:
        np.testing.assert_array_equal(np.array(image), samples)


def test_png_of_a_photo_is_nearly_as_small_as_that_of_pillow() -> None:
    for _, photo in pictures():
        out = BytesIO()
        photo.save(out, "PNG")
        assert len(encode(Picture(rgb=np.array(photo)), "png")) < 1.1 * len(out.getvalue())
