"""Tests of nst_core.images.picture: limits of sizes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from nst_core.errors import (
    ConfigError,
    ImageDecodeError,
    ImageTooLargeError,
    ImageTooSmallError,
)
from nst_core.images import Limits, decode, fitted_size
from tests.unit.nst_core.images.picture_files import (
    CLAIMING,
    WRITERS,
    claiming,
    difference,
    png,
    saved,
    smooth,
)


@pytest.mark.parametrize("kind", sorted(set(CLAIMING) - {"gif"}))  # a GIF's frame may leave its canvas empty
def test_a_header_that_claims_an_allowed_size_passes_the_check(kind: str) -> None:
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode(claiming(kind, 4_000, 2_000) if kind != "jpeg" else claiming(kind, 4_000, 2_000)[:-20])


def test_the_limit_counts_pixels() -> None:
    data = WRITERS["png"](Image.fromarray(smooth(40, 25)))
    assert decode(data, Limits(max_pixels=1000)).rgb.shape == (25, 40, 3)
    with pytest.raises(ImageTooLargeError):
        decode(data, Limits(max_pixels=999))


def test_a_large_image_within_the_limit_is_not_treated_as_a_bomb() -> None:
    data = png(20_000, 10_000, depth=1, colour=0, rows=b"")  # above both limits of Pillow's own check
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode(data, Limits(max_pixels=200_000_000))


@pytest.mark.parametrize(("width", "height"), [(15, 64), (64, 15), (1, 1)])
def test_a_side_under_the_smallest_is_refused(width: int, height: int) -> None:
    data = WRITERS["png"](Image.fromarray(smooth(width, height)))
    with pytest.raises(ImageTooSmallError, match=f"{width} x {height}"):
        decode(data)
    assert decode(data, Limits(min_side_px=1)).rgb.shape == (height, width, 3)


def test_the_smallest_side_is_checked_after_reducing_too() -> None:
    data = WRITERS["png"](Image.fromarray(smooth(400, 20)))
    assert decode(data, Limits(max_px=320)).rgb.shape == (16, 320, 3)
    with pytest.raises(ImageTooSmallError, match="300 x 15"):
        decode(data, Limits(max_px=300))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_longer_side_is_reduced_to_the_limit(kind: str) -> None:
    picture = decode(WRITERS[kind](Image.fromarray(smooth(1200, 800))), Limits(max_px=150))
    assert picture.rgb.shape == (100, 150, 3)
    expected = np.array(Image.fromarray(smooth(1200, 800)).resize((150, 100), Image.Resampling.LANCZOS))
    assert difference(picture.rgb, expected) < 2


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_reduced_picture_has_the_announced_size_in_every_format(kind: str, turned: bool) -> None:
    """A JPEG is decoded at a part of its size, which is rounded up: 1649 x 256 pixels become 207 x 32 first."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if turned else 1
    data = saved(Image.fromarray(smooth(1649, 256)), kind, exif=exif)
    announced: list[int] = []
    picture = decode(data, Limits(max_px=100), on_size=lambda _, pixels: announced.append(pixels))
    assert picture.rgb.shape == ((100, 16, 3) if turned else (16, 100, 3))
    assert announced == [1600]


def test_a_smaller_image_is_not_enlarged() -> None:
    assert decode(WRITERS["png"](Image.fromarray(smooth())), Limits(max_px=1000)).rgb.shape == (32, 48, 3)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), max_px=st.integers(1, 5000))
def test_fitted_size_keeps_the_shape_within_the_limit(width: int, height: int, max_px: int) -> None:
    fitted = fitted_size((width, height), max_px)
    if max(width, height) <= max_px:
        assert fitted == (width, height)
    else:
        assert max(fitted) == max_px
        assert min(fitted) == max(1, round(min(width, height) * max_px / max(width, height)))


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), shorter_px=st.integers(1, 5000))
def test_the_shorter_side_can_be_the_limit(width: int, height: int, shorter_px: int) -> None:
    fitted = Limits(shorter_px=shorter_px).fitted((width, height))
    assert min(fitted) == min(width, height, shorter_px)
    assert abs(max(fitted) - max(width, height) * min(fitted) / min(width, height)) <= 0.5
    assert Limits(shorter_px=shorter_px).fitted(fitted) == fitted
    assert Limits(shorter_px=shorter_px, max_px=100).fitted((width, height)) == fitted_size((width, height), 100)


def test_a_limit_under_1_is_refused() -> None:
    with pytest.raises(ConfigError):
        fitted_size((10, 10), 0)


def test_opacity_can_be_left_out() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8] = (250, 10, 20, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    picture = decode(file.getvalue(), Limits(ignore_alpha=True))
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.rgb, pixels[..., :3])
