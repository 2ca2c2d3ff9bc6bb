"""Tests of nst_core.images.colours."""

import numpy as np
import pytest
from PIL import Image

from nst_core.images import Limits, decode
from tests.unit.nst_core.images.picture_files import (
    BEST,
    difference,
    lab_profile,
    saved,
    smooth,
    srgb_profile,
    swapped_profile,
)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_colour_profile_is_converted_to_srgb(kind: str) -> None:
    data = saved(Image.fromarray(smooth()), kind, icc_profile=swapped_profile(), **BEST.get(kind, {}))
    assert difference(decode(data).rgb, smooth()[:, :, ::-1]) < 2


def test_an_srgb_profile_changes_nothing() -> None:
    data = saved(Image.fromarray(smooth()), "PNG", icc_profile=srgb_profile())
    assert np.abs(decode(data).rgb.astype(int) - smooth()).max() <= 1


def test_a_profile_does_not_change_the_opacity() -> None:
    image = Image.fromarray(smooth())
    image.putalpha(Image.linear_gradient("L").resize((48, 32)))
    picture = decode(saved(image, "PNG", icc_profile=swapped_profile()))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.array(image.getchannel("A")))


@pytest.mark.parametrize("profile", [b"no profile", srgb_profile()[:200], lab_profile()])
def test_a_broken_profile_or_one_of_another_colour_space_is_ignored(profile: bytes) -> None:
    np.testing.assert_array_equal(decode(saved(Image.fromarray(smooth()), "PNG", icc_profile=profile)).rgb, smooth())


def test_grey_with_an_rgb_profile_is_treated_as_srgb() -> None:
    grey = Image.fromarray(smooth()).convert("L")
    picture = decode(saved(grey, "PNG", icc_profile=srgb_profile()))
    np.testing.assert_array_equal(picture.rgb, np.array(grey.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted(kind: str) -> None:
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert difference(decode(saved(image, kind)).rgb, np.full((32, 32, 3), (255, 0, 0), np.uint8)) < 2


def test_colours_under_full_transparency_do_not_bleed_when_reduced() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, ::2] = (255, 0, 0, 255)  # red columns between transparent black ones
    picture = decode(saved(Image.fromarray(pixels), "PNG"), Limits(max_px=16))
    assert picture.rgb[..., 0].min() > 250
    assert picture.alpha is not None
    assert abs(float(picture.alpha[8, 8]) - 128) < 8


@pytest.mark.parametrize("opacity", [1, 2, 4, 32, 255])
def test_faint_colours_are_reduced_like_others(opacity: int) -> None:
    """A network sees them, and would paint the few levels that bytes of colour times opacity have."""
    image = Image.fromarray(smooth()).resize((200, 600))
    expected = np.asarray(image.resize((100, 300), Image.Resampling.LANCZOS))
    image.putalpha(opacity)
    picture = decode(saved(image, "PNG"), Limits(max_px=300))
    assert np.abs(picture.rgb.astype(int) - expected).max() <= 1
    if opacity < 255:
        assert picture.alpha is not None
        assert (picture.alpha == opacity).all()


def test_an_opaque_edge_keeps_its_colour_beside_a_faint_area() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (200, 100, 50, 255)
    pixels[:, 32:] = (0, 0, 255, 1)
    picture = decode(saved(Image.fromarray(pixels), "PNG"), Limits(max_px=16))
    assert np.abs(picture.rgb[:, :8].astype(int) - (200, 100, 50)).max() <= 2
    assert np.abs(picture.rgb[:, 11:].astype(int) - (0, 0, 255)).max() <= 2
