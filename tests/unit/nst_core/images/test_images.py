"""Decoding of every kind of file, hostile ones included, and encoding."""

import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_core.errors import (
    ConfigError,
    ImageDecodeError,
    ImageError,
    ImageFormatError,
    ImageTooLargeError,
    ImageTooSmallError,
)
from nst_core.images import Picture, content_type, decode, encode, fitted_size
from tests.unit.nst_core.images.picture_files import (
    BEST,
    CLAIMING,
    LOSSLESS,
    LOSSY,
    WRITERS,
    Pixels,
    claiming,
    difference,
    lab_profile,
    noise,
    png,
    png_chunk,
    saved,
    smooth,
    srgb_profile,
    swapped_profile,
    tiff_grey16,
)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_exact_pixels(kind: str) -> None:
    picture = decode(WRITERS[kind](Image.fromarray(smooth())))
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.flags.writeable
    np.testing.assert_array_equal(picture.rgb, smooth())
    assert picture.alpha is None


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_formats_give_close_pixels(kind: str) -> None:
    picture = decode(WRITERS[kind](Image.fromarray(smooth())))
    assert difference(picture.rgb, smooth()) < 10
    assert picture.alpha is None


def test_only_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **BEST.get(kind, {}))
        np.testing.assert_array_equal(decode(data).rgb, np.array(frames[0]))


ORIENTED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_orientation_is_applied_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(saved(Image.fromarray(smooth()), kind, exif=exif, **BEST.get(kind, {})))
    assert difference(picture.rgb, ORIENTED[orientation](smooth())) < (2 if kind == "JPEG" else 0.01)


def test_compressed_tiff_with_orientation_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(smooth()), "TIFF", exif=exif, compression="tiff_lzw")
    np.testing.assert_array_equal(decode(data).rgb, np.rot90(smooth(), -1))


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage" * 9])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_is_ignored(exif: bytes) -> None:
    assert decode(saved(Image.fromarray(smooth()), "JPEG", exif=exif)).rgb.shape == (32, 48, 3)


def test_orientation_turns_the_opacity_too() -> None:
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:10, :10] = 255
    image = Image.fromarray(smooth())
    image.putalpha(Image.fromarray(alpha))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode(saved(image, "PNG", exif=exif))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.rot90(alpha, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_colour_profile_is_converted_to_srgb(kind: str) -> None:
    data = saved(Image.fromarray(smooth()), kind, icc_profile=swapped_profile(), **BEST.get(kind, {}))
    assert difference(decode(data).rgb, smooth()[:, :, ::-1]) < 2


def test_an_srgb_profile_changes_nothing() -> None:
    data = saved(Image.fromarray(smooth()), "PNG", icc_profile=srgb_profile())
    assert np.abs(decode(data).rgb.astype(int) - smooth()).max() <= 1


def test_a_profile_leaves_the_opacity_alone() -> None:
    image = Image.fromarray(smooth())
    image.putalpha(Image.linear_gradient("L").resize((48, 32)))
    picture = decode(saved(image, "PNG", icc_profile=swapped_profile()))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.array(image.getchannel("A")))


@pytest.mark.parametrize("profile", [b"no profile", srgb_profile()[:200], lab_profile()])
def test_a_profile_that_is_broken_or_of_another_space_is_ignored(profile: bytes) -> None:
    np.testing.assert_array_equal(decode(saved(Image.fromarray(smooth()), "PNG", icc_profile=profile)).rgb, smooth())


def test_grey_with_an_rgb_profile_is_taken_as_srgb() -> None:
    grey = Image.fromarray(smooth()).convert("L")
    picture = decode(saved(grey, "PNG", icc_profile=srgb_profile()))
    np.testing.assert_array_equal(picture.rgb, np.array(grey.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted(kind: str) -> None:
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert difference(decode(saved(image, kind)).rgb, np.full((32, 32, 3), (255, 0, 0), np.uint8)) < 2


def test_adobe_cmyk_jpeg_is_not_inverted() -> None:
    data = saved(Image.new("CMYK", (32, 32), (0, 0, 0, 0)), "JPEG")
    assert b"Adobe" in data
    assert decode(data).rgb.min() > 250


def test_grey_and_black_and_white_become_rgb() -> None:
    grey = Image.fromarray(smooth()).convert("L")
    np.testing.assert_array_equal(decode(saved(grey, "PNG")).rgb, np.array(grey.convert("RGB")))
    for kind in ("PNG", "TIFF", "BMP"):
        bits = grey.convert("1")
        np.testing.assert_array_equal(decode(saved(bits, kind)).rgb, np.array(bits.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    samples = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    rgb = decode(saved(Image.fromarray(samples), kind)).rgb
    np.testing.assert_array_equal(rgb[:, :, 0], np.round(samples / 257).astype(np.uint8))
    np.testing.assert_array_equal(rgb[:, :, 0], rgb[:, :, 2])


def test_16_bit_grey_where_0_is_white_is_inverted() -> None:
    samples = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    rgb = decode(tiff_grey16(32, 32, samples.astype("<u2").tobytes(), photometric=0)).rgb
    np.testing.assert_array_equal(rgb[:, :, 1], 255 - np.round(samples / 257).astype(np.uint8))


def test_12_bit_grey_is_scaled_from_its_own_range() -> None:
    pairs = bytes((0xFF, 0xF0, 0x00)) * (32 * 32 // 2)  # white and black alternate
    rgb = decode(tiff_grey16(32, 32, pairs, bits=12)).rgb
    assert (rgb[:, ::2] == 255).all()
    assert (rgb[:, 1::2] == 0).all()


def test_16_bit_rgb_is_scaled_not_clipped() -> None:
    wide = (smooth().astype(">u2") * 257).tobytes()
    np.testing.assert_array_equal(decode(png(48, 32, depth=16, colour=2, rows=wide)).rgb, smooth())


def test_16_bit_grey_with_alpha_keeps_both() -> None:
    grey, alpha = smooth()[:, :, 0], smooth()[:, :, 1]
    wide = np.stack([grey, alpha], axis=2).astype(">u2") * 257
    picture = decode(png(48, 32, depth=16, colour=4, rows=wide.tobytes()))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)


def test_a_transparent_16_bit_grey_level_is_transparent() -> None:
    samples = np.full((32, 32), 40_000, ">u2")
    samples[:8] = 40_001
    extra = png_chunk(b"tRNS", struct.pack(">H", 40_001))
    picture = decode(png(32, 32, depth=16, colour=0, rows=samples.tobytes(), extra=extra))
    assert picture.alpha is not None
    assert (picture.alpha[:8] == 0).all()
    assert (picture.alpha[8:] == 255).all()


def test_a_transparent_colour_is_transparent() -> None:
    pixels = np.full((32, 32, 3), (10, 20, 30), np.uint8)
    pixels[:8] = (1, 2, 3)
    picture = decode(saved(Image.fromarray(pixels), "PNG", transparency=(1, 2, 3)))
    assert picture.alpha is not None
    assert (picture.alpha[:8] == 0).all()
    assert (picture.alpha[8:] == 255).all()
    assert difference(picture.rgb, np.full((32, 32, 3), (10, 20, 30), np.uint8)) < 2  # of what can be seen


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency_keeps_the_opacity(kind: str) -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 32, 16))
    picture = decode(saved(image, kind, transparency=1))
    assert picture.alpha is not None
    assert (picture.alpha[:16] == 0).all()
    assert (picture.alpha[16:] == 255).all()
    assert difference(picture.rgb, np.full((32, 32, 3), (255, 0, 0), np.uint8)) < 2
    assert (picture.rgb[16:] == (255, 0, 0)).all()


def test_palette_without_transparency_is_opaque() -> None:
    image = Image.fromarray(smooth()).quantize(64)
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        picture = decode(saved(image, kind))
        np.testing.assert_array_equal(picture.rgb, np.array(image.convert("RGB")))
        assert picture.alpha is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opacity_is_kept_and_the_colours_are_not_blended(kind: str, mode: str) -> None:
    image = Image.fromarray(smooth()).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize((48, 32)).point(lambda level: max(level, 1)))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    picture = decode(saved(image, kind, **options))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.array(image.getchannel("A")))
    np.testing.assert_array_equal(picture.rgb, np.array(image.convert("RGB")))


def test_full_opacity_is_none() -> None:
    assert decode(saved(Image.fromarray(smooth()).convert("RGBA"), "PNG")).alpha is None


@pytest.mark.parametrize(("mode", "words"), [("F", "floating-point"), ("I", "signed"), ("LAB", "LAB")])
def test_samples_that_have_no_agreed_range_are_refused(mode: str, words: str) -> None:
    with pytest.raises(ImageFormatError, match=words):
        decode(saved(Image.new(mode, (32, 32)), "TIFF"))


def test_empty_bytes_are_named_empty() -> None:
    with pytest.raises(ImageDecodeError, match="empty"):
        decode(b"")


@pytest.mark.parametrize("data", [b"\0", b"hello", b"<html></html>", b"\xff\xd8", bytes(1000), b"GIF8"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageDecodeError, match="not an image"):
        decode(data)


@pytest.mark.parametrize("piece", [b"<!---->", b"<?xml?>", b"<!DOCTYPE svg>", b" ", b"<?xml<!--"])
def test_many_repeats_of_what_begins_an_svg_are_refused_at_once(piece: bytes) -> None:
    # In a process of its own: a regular expression that backtracks could not be interrupted in this one.
    code = f"from nst_core.images import decode\ntry: decode({piece!r} * 100 + b'x')\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "The data is not an image.\n"


@pytest.mark.parametrize("kind", ["ICO", "JPEG2000", "PPM", "PDF"])
def test_formats_that_are_not_supported_are_named(kind: str) -> None:
    with pytest.raises(ImageFormatError, match="supported are JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and HEIC"):
        decode(saved(Image.fromarray(smooth()), kind))


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>',
        b"<!-- a --><!-- b --><!DOCTYPE svg><svg/>",
        b"8BPS\0\1",
        b"\xff\x0a\0\0",
    ],
)
def test_other_known_formats_are_named_from_their_first_bytes(data: bytes) -> None:
    with pytest.raises(ImageFormatError):
        decode(data)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_truncated_file_is_named_truncated(kind: str, share: float) -> None:
    data = WRITERS[kind](Image.fromarray(noise(64, 64)))
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", CLAIMING)
@pytest.mark.parametrize("side", [40_000, 12_000])  # above and between the two limits of Pillow's own check
def test_a_header_that_claims_too_many_pixels_is_refused(kind: str, side: int) -> None:
    with pytest.raises(ImageTooLargeError, match=f"{side:,} x {side:,}"):
        decode(claiming(kind, side, side))


@pytest.mark.parametrize("kind", sorted(set(CLAIMING) - {"gif"}))  # a GIF's frame may leave its canvas empty
def test_a_header_that_claims_what_the_limit_allows_gets_past_the_check(kind: str) -> None:
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode(claiming(kind, 4_000, 2_000) if kind != "jpeg" else claiming(kind, 4_000, 2_000)[:-20])


def test_the_limit_counts_pixels() -> None:
    data = WRITERS["png"](Image.fromarray(smooth(40, 25)))
    assert decode(data, max_pixels=1000).rgb.shape == (25, 40, 3)
    with pytest.raises(ImageTooLargeError):
        decode(data, max_pixels=999)


def test_a_large_image_within_the_limit_is_not_taken_for_a_bomb() -> None:
    data = png(20_000, 10_000, depth=1, colour=0, rows=b"")  # above both limits of Pillow's own check
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode(data, max_pixels=200_000_000)


@pytest.mark.parametrize(("width", "height"), [(15, 64), (64, 15), (1, 1)])
def test_a_side_under_the_smallest_is_refused(width: int, height: int) -> None:
    data = WRITERS["png"](Image.fromarray(smooth(width, height)))
    with pytest.raises(ImageTooSmallError, match=f"{width} x {height}"):
        decode(data)
    assert decode(data, min_side_px=1).rgb.shape == (height, width, 3)


def test_the_smallest_side_is_checked_after_reducing_too() -> None:
    data = WRITERS["png"](Image.fromarray(smooth(400, 20)))
    assert decode(data, max_px=320).rgb.shape == (16, 320, 3)
    with pytest.raises(ImageTooSmallError, match="300 x 15"):
        decode(data, max_px=300)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_longer_side_is_reduced_to_the_limit(kind: str) -> None:
    picture = decode(WRITERS[kind](Image.fromarray(smooth(1200, 800))), max_px=150)
    assert picture.rgb.shape == (100, 150, 3)
    expected = np.array(Image.fromarray(smooth(1200, 800)).resize((150, 100), Image.Resampling.LANCZOS))
    assert difference(picture.rgb, expected) < 2


def test_a_smaller_image_is_not_enlarged() -> None:
    assert decode(WRITERS["png"](Image.fromarray(smooth())), max_px=1000).rgb.shape == (32, 48, 3)


def test_colours_under_full_transparency_do_not_bleed_when_reduced() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, ::2] = (255, 0, 0, 255)  # red columns between transparent black ones
    picture = decode(saved(Image.fromarray(pixels), "PNG"), max_px=16)
    assert picture.rgb[..., 0].min() > 250
    assert picture.alpha is not None
    assert abs(float(picture.alpha[8, 8]) - 128) < 8


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), max_px=st.integers(1, 5000))
def test_fitted_size_keeps_the_shape_within_the_limit(width: int, height: int, max_px: int) -> None:
    fitted = fitted_size((width, height), max_px)
    if max(width, height) <= max_px:
        assert fitted == (width, height)
    else:
        assert max(fitted) == max_px
        assert min(fitted) == max(1, round(min(width, height) * max_px / max(width, height)))


def test_a_limit_under_1_is_refused() -> None:
    with pytest.raises(ConfigError):
        fitted_size((10, 10), 0)


FUZZED = {kind: writer(Image.fromarray(smooth(24, 20))) for kind, writer in WRITERS.items()}
FUZZED["png-palette"] = saved(Image.fromarray(smooth(24, 20)).quantize(8), "PNG", transparency=1)
FUZZED["jpeg-rich"] = saved(
    Image.fromarray(smooth(24, 20)).convert("CMYK"), "JPEG", exif=Image.Exif(), icc_profile=srgb_profile()
)
FUZZED["tiff-grey16"] = tiff_grey16(24, 20, bytes(range(240)) * 4)
FUZZED["webp-alpha"] = saved(
    Image.fromarray(smooth(24, 20)).convert("LA").convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0"
)


@pytest.mark.parametrize("kind", FUZZED)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_hostile_bytes_give_a_picture_or_an_image_error(kind: str, draw: st.DataObject) -> None:
    data = bytearray(FUZZED[kind])
    for _ in range(draw.draw(st.integers(0, 6))):
        # Half of the damage hits the header, where structure is.
        at = draw.draw(st.integers(0, len(data) - 1) | st.integers(0, min(100, len(data) - 1)))
        data[at] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.just(len(data)) | st.integers(0, len(data))) :]
    try:
        picture = decode(bytes(data), max_pixels=1_000_000)
    except ImageError as error:
        message = error.message
    else:
        message = "Decoded."
        assert picture.rgb.shape[0] * picture.rgb.shape[1] <= 1_000_000
        assert picture.rgb.shape[2:] == (3,)
    assert message.endswith(".")


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


def test_threads_may_decode_and_encode_at_once() -> None:
    data = saved(Image.fromarray(smooth(200, 160)), "JPEG", icc_profile=swapped_profile())
    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(lambda _: encode(decode(data, max_px=100), "png"), range(32)))
    assert len(results) == 1
