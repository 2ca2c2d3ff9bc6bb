"""Tests of nst_core.images.decoding."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from nst_core.errors import (
    ImageDecodeError,
    ImageError,
    ImageFormatError,
    ImageTooLargeError,
)
from nst_core.images import Limits, decode, encode
from tests.unit.nst_core.images.picture_files import (
    BEST,
    CLAIMING,
    LOSSLESS,
    LOSSY,
    WRITERS,
    Pixels,
    claiming,
    difference,
    noise,
    png,
    png_chunk,
    saved,
    smooth,
    srgb_profile,
    swapped_profile,
    tiff,
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
    assert difference(picture.rgb, np.full((32, 32, 3), (10, 20, 30), np.uint8)) < 2  # of the visible part


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


def test_full_opacity_is_dropped() -> None:
    assert decode(saved(Image.fromarray(smooth()).convert("RGBA"), "PNG")).alpha is None


@pytest.mark.parametrize(("mode", "words"), [("F", "floating-point"), ("I", "signed"), ("LAB", "LAB")])
def test_samples_without_a_standard_range_are_refused(mode: str, words: str) -> None:
    with pytest.raises(ImageFormatError, match=words):
        decode(saved(Image.new(mode, (32, 32)), "TIFF"))


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
        decode(claiming(kind, side, side), Limits(max_pixels=50_000_000))


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
        # Half of the damage hits the header, which has the structure.
        at = draw.draw(st.integers(0, len(data) - 1) | st.integers(0, min(100, len(data) - 1)))
        data[at] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.just(len(data)) | st.integers(0, len(data))) :]
    try:
        picture = decode(bytes(data), Limits(max_pixels=1_000_000))
    except ImageError as error:
        message = error.message
    else:
        message = "Decoded."
        assert picture.rgb.shape[0] * picture.rgb.shape[1] <= 1_000_000
        assert picture.rgb.shape[2:] == (3,)
    assert message.endswith(".")


def test_threads_can_decode_and_encode_concurrently() -> None:
    data = saved(Image.fromarray(smooth(200, 160)), "JPEG", icc_profile=swapped_profile())
    with ThreadPoolExecutor(4) as pool:
        results = set(pool.map(lambda _: encode(decode(data, Limits(max_px=100)), "png"), range(32)))
    assert len(results) == 1


MEASURE = """
import sys
from pathlib import Path
from nst_core.images import decode
from nst_core.system.memory import resident_bytes

asked = []
files = [Path(name).read_bytes() for name in sys.argv[1:]]
decode(files[0])  # what is loaded at the first picture
before = resident_bytes()
decode(files[1], on_size=lambda needed, pixels: asked.append(needed))
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024 - before, asked[0])
"""


def large_tiff(samples: int, kind: type[np.unsignedinteger]) -> bytes:
    """A TIFF whose only strip is the picture."""
    values = np.random.default_rng(0).integers(0, 255, (500, 400, samples)).astype(kind)
    return tiff(values, rows=500, compression=8, predictor=True, more={338: (2,) + (0,) * (samples - 4)})


LARGE: dict[str, Callable[[], bytes]] = {
    "tiff-64-samples": lambda: large_tiff(64, np.uint16),
    "tiff-8-samples": lambda: large_tiff(8, np.uint16),
    "tiff-tile": lambda: tiff(np.zeros((100, 100, 4), np.uint16), tile=2000, compression=8, predictor=True),
    "bmp-fields": lambda: bmp_with_fields(noise(1000, 1000)),
    "png-16": lambda: png(1000, 1000, depth=16, colour=6, rows=np.random.default_rng(0).bytes(8_000_000)),
    "png-16-transparent": lambda: png(
        *(1000, 1000),
        depth=16,
        colour=2,
        rows=np.random.default_rng(0).bytes(6_000_000),
        extra=png_chunk(b"tRNS", bytes(6)),
    ),
    "jpeg-cut": lambda: saved(Image.fromarray(noise(1000, 1000)), "JPEG", quality=95, progressive=True)[:-2],
    "webp": lambda: saved(Image.fromarray(with_opacity(noise(1000, 1000))), "WEBP"),
}


def with_opacity(pixels: Pixels) -> Pixels:
    return np.dstack((pixels, pixels[..., :1]))


def bmp_with_fields(pixels: Pixels) -> bytes:
    """A BMP of 32 bits a pixel, ten for each colour."""
    height, width = pixels.shape[:2]
    values = (pixels.astype("<u4") * 4) << np.array([20, 10, 0], "<u4")
    masks = struct.pack("<3I", 1023 << 20, 1023 << 10, 1023)
    head = struct.pack("<IiiHHI", 40, width, height, 1, 32, 3) + bytes(20) + masks
    body: Pixels = values.sum(2, dtype="<u4").view(np.uint8)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + body.tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", LARGE)
def test_decoding_takes_no_more_memory_than_it_asks_for(kind: str, tmp_path: Path) -> None:
    names = [tmp_path / "small", tmp_path / "large"]
    for name, data in zip(names, (saved(Image.fromarray(smooth()), "PNG"), LARGE[kind]()), strict=True):
        name.write_bytes(data)
    root = Path(__file__).parents[4]
    # Freed memory goes back at once, so that the most at the same time is measured.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    script = [sys.executable, "-c", MEASURE, *map(str, names)]
    done = subprocess.run(script, cwd=root, env=environment, capture_output=True, text=True, check=True)
    measured, asked = map(int, done.stdout.split())
    assert asked / 5 < measured <= asked
