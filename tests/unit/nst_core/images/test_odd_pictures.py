"""Rare and slightly damaged pictures: each gives the picture, a warning, or a precise error."""

import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_core.errors import ImageDecodeError, ImageFormatError
from nst_core.images import Limits, Picture, decode, encode
from tests.unit.nst_core.images.picture_files import (
    Pixels,
    difference,
    noise,
    png,
    png_chunk,
    saved,
    smooth,
    srgb_profile,
    tiff,
    tiff_file,
)

GREY = smooth()[..., 0]


def wide(pixels: Pixels) -> Any:
    """Return 8-bit samples as 16-bit ones."""
    return pixels.astype(np.uint16) * 257


def with_extra(pixels: Pixels, *extra: Pixels) -> Pixels:
    return np.dstack([pixels, *extra])


# PNG


def with_chunk(chunk: bytes) -> bytes:
    """Return a PNG file with an extra chunk after its header."""
    data = saved(Image.fromarray(smooth()), "PNG")
    return data[:33] + chunk + data[33:]


def broken(chunk: bytes) -> bytes:
    """Return a chunk with a wrong checksum."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


@pytest.mark.parametrize(
    "name", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"pHYs", b"eXIf", b"acTL", b"prVt"]
)
def test_a_png_chunk_with_a_wrong_checksum_is_ignored_unless_it_is_needed(name: bytes) -> None:
    data = with_chunk(broken(png_chunk(name, b"Comment\0\0" + zlib.compress(b"text"))))
    np.testing.assert_array_equal(decode(data).rgb, smooth())


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
def test_a_png_chunk_of_pixels_with_a_wrong_checksum_is_damage(name: bytes) -> None:
    data = bytearray(saved(Image.fromarray(smooth()), "PNG"))
    at = data.index(name)
    length = int.from_bytes(data[at - 4 : at])
    data[at + 4 + length] ^= 1
    with pytest.raises(ImageDecodeError, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("size", [3_000_000, 100_000_000])
@pytest.mark.parametrize(
    ("name", "head"), [(b"zTXt", b"Comment\0\0"), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"), (b"iCCP", b"big\0\0")]
)
def test_large_metadata_of_a_png_does_no_harm(name: bytes, head: bytes, size: int) -> None:
    data = with_chunk(png_chunk(name, head + zlib.compress(bytes(size))))
    np.testing.assert_array_equal(decode(data).rgb, smooth())


def test_a_large_colour_profile_is_used() -> None:
    profile = srgb_profile()
    # A profile has its own length. The rest counts as a printer's tables.
    large = (len(profile) + 1_500_000).to_bytes(4) + profile[4:] + bytes(1_500_000)
    data = with_chunk(png_chunk(b"iCCP", b"big\0\0" + zlib.compress(large)))
    assert difference(decode(data).rgb, smooth()) < 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_level_of_few_bits_is_transparent(depth: int) -> None:
    levels = np.arange(32 * 32).reshape(32, 32) % (1 << depth)
    packed = np.packbits(
        np.stack([levels >> bit & 1 for bit in reversed(range(depth))], axis=-1).reshape(32, -1).astype(np.uint8),
        axis=1,
    )
    for level in (0, (1 << depth) // 2, (1 << depth) - 1):
        extra = png_chunk(b"tRNS", struct.pack(">H", level))
        picture = decode(png(32, 32, depth=depth, colour=0, rows=packed.tobytes(), extra=extra))
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, np.where(levels == level, 0, 255))
        seen = levels != level
        np.testing.assert_array_equal(picture.rgb[seen][:, 0], levels[seen] * 255 // ((1 << depth) - 1))


def test_a_transparent_16_bit_colour_is_compared_in_full() -> None:
    pixels = np.full((32, 32, 3), (0x1234, 0x5678, 0x9ABC), np.uint16)
    pixels[:8] = (0x1235, 0x5678, 0x9ABC)  # the same upper halves
    extra = png_chunk(b"tRNS", struct.pack(">HHH", 0x1235, 0x5678, 0x9ABC))
    picture = decode(png(32, 32, depth=16, colour=2, rows=pixels.astype(">u2").tobytes(), extra=extra))
    assert picture.alpha is not None
    assert (picture.alpha[:8] == 0).all()
    assert (picture.alpha[8:] == 255).all()


def test_a_transparent_entry_of_a_palette_of_few_bits_is_transparent() -> None:
    rows = bytes([0b00011011]) * 8 * 32
    extra = png_chunk(b"PLTE", bytes(range(12))) + png_chunk(b"tRNS", bytes([255, 0, 128]))
    picture = decode(png(32, 32, depth=2, colour=3, rows=rows, extra=extra))
    assert picture.alpha is not None
    assert picture.alpha[0, :4].tolist() == [255, 0, 128, 255]


def test_the_gamma_of_a_png_is_used_unless_its_colours_are_srgb() -> None:
    linear = np.round((smooth() / 255.0) ** 2.2 * 255).astype(np.uint8).tobytes()
    gamma = png_chunk(b"gAMA", (100_000).to_bytes(4))
    assert difference(decode(png(48, 32, depth=8, colour=2, rows=linear, extra=gamma)).rgb, smooth()) < 2
    for more in (png_chunk(b"sRGB", b"\0"), png_chunk(b"iCCP", b"s\0\0" + zlib.compress(srgb_profile()))):
        plain = png(48, 32, depth=8, colour=2, rows=smooth().tobytes(), extra=gamma + more)
        assert difference(decode(plain).rgb, smooth()) < 1
    usual = png(48, 32, depth=8, colour=2, rows=smooth().tobytes(), extra=png_chunk(b"gAMA", (45_455).to_bytes(4)))
    np.testing.assert_array_equal(decode(usual).rgb, smooth())


@pytest.mark.parametrize("value", [0, 1, 2**32 - 1])
def test_an_invalid_gamma_still_gives_a_picture(value: int) -> None:
    data = png(48, 32, depth=8, colour=2, rows=smooth().tobytes(), extra=png_chunk(b"gAMA", value.to_bytes(4)))
    assert decode(data).rgb.shape == (32, 48, 3)


def test_a_png_in_the_variant_of_iphones_is_read() -> None:
    alpha = np.full((32, 48, 1), 255, np.uint8)
    rows = with_extra(smooth()[..., ::-1], alpha)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    deflate = zlib.compressobj(wbits=-15)
    body = png_chunk(b"CgBI", b"\x50\0\x20\6") + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 32, 8, 6, 0, 0, 0))
    body += png_chunk(b"IDAT", deflate.compress(raw) + deflate.flush()) + png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(b"\x89PNG\r\n\x1a\n" + body).rgb, smooth())


@pytest.mark.parametrize("cut", range(1, 17))
def test_a_png_truncated_after_its_pixels_is_read(cut: int) -> None:
    np.testing.assert_array_equal(decode(saved(Image.fromarray(smooth()), "PNG")[:-cut]).rgb, smooth())


# JPEG


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), "JPEG", quality=90, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_is_read(options: dict[str, Any], cut: int) -> None:
    data = jpeg(smooth(192, 128), **options)
    picture, whole = decode(data[:-cut]), decode(data)
    np.testing.assert_array_equal(picture.rgb, whole.rgb)
    assert (picture.warning, whole.warning) == (None, None)


@pytest.mark.parametrize("cut", [3, 5, 10, 20, 30])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_without_a_few_pixels_has_a_warning(cut: int, options: dict[str, Any]) -> None:
    data = jpeg(noise(256, 256), **options)
    picture = decode(data[:-cut])
    assert picture.warning is not None
    assert "missing" in picture.warning
    assert difference(picture.rgb[:200], decode(data).rgb[:200]) == 0


@pytest.mark.parametrize("share", [0.97, 0.9, 0.5])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_without_many_pixels_is_refused_with_and_without_its_end(options: dict[str, Any], share: float) -> None:
    data = jpeg(noise(256, 256), **options)
    if options.get("progressive"):
        share = min(share, 0.9)
    cut = data[: int(len(data) * share)]
    with pytest.raises(ImageDecodeError):
        decode(cut)
    if not options.get("progressive"):
        with pytest.raises(ImageDecodeError):
            decode(cut.rstrip(b"\xff") + b"\xff\xd9")


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}])
def test_a_jpeg_whose_header_is_taller_than_its_data_is_refused(options: dict[str, Any]) -> None:
    data = bytearray(jpeg(smooth(192, 128), **options))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = (200).to_bytes(2)
    with pytest.raises(ImageDecodeError):
        decode(bytes(data))


def test_a_jpeg_with_a_wrong_restart_marker_is_refused() -> None:
    data = bytearray(jpeg(smooth(192, 128), restart_marker_rows=1))
    data[data.index(b"\xff\xd2") + 1] = 0xD6
    with pytest.raises(ImageDecodeError, match="restart"):
        decode(bytes(data))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_grey_jpeg_does_not_count_as_incomplete(mode: str) -> None:
    """The grey of missing pixels may also be the colour of the picture."""
    data = saved(Image.new(mode, (64, 64), (128,) * len(mode) if mode != "L" else 128), "JPEG", quality=95)
    assert decode(data).warning is None
    assert decode(data[:-2]).warning is None


def test_a_jpeg_with_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    data = saved(Image.new("RGB", (80, 60), "teal"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert decode(data[:last] + data[last:-2] * 80 + data[-2:]).rgb.shape == (60, 80, 3)
    with pytest.raises(ImageDecodeError, match="more than 100 scans"):
        decode(data[:last] + data[last:-2] * 2_000 + data[-2:])


def test_a_jpeg_with_too_many_segments_is_refused_before_it_is_decoded() -> None:
    data = saved(Image.new("RGB", (80, 60), "teal"), "JPEG")
    comment = b"\xff\xfe\x00\x02"
    assert decode(data[:2] + comment * 9_000 + data[2:]).rgb.shape == (60, 80, 3)
    with pytest.raises(ImageDecodeError, match="10,000 segments"):
        decode(data[:2] + comment * 100_000 + data[2:])


@pytest.mark.parametrize("marker", [0xC3, 0xC7, 0xF7])
def test_a_lossless_jpeg_is_named_unsupported(marker: int) -> None:
    data = bytearray(jpeg(smooth()))
    data[data.index(b"\xff\xc0") + 1] = marker
    with pytest.raises(ImageFormatError, match="lossless"):
        decode(bytes(data))


def test_an_orientation_only_in_xmp_is_ignored() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        options: dict[str, Any] = {"xmp": xmp} if kind in ("JPEG", "WEBP") else {}
        if kind == "TIFF":
            options = {"tiffinfo": {700: xmp}}
        if kind == "PNG":
            chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
            assert decode(with_chunk(chunk)).rgb.shape == (32, 48, 3)
        else:
            assert decode(saved(Image.fromarray(smooth()), kind, **options)).rgb.shape == (32, 48, 3)


# TIFF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", ["strips", "tiles", "deflate", "predictor"])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_of_any_layout_is_exact(order: str, planar: bool, kind: str, bits: int) -> None:
    options: dict[str, Any] = {
        "strips": {},
        "tiles": {"tile": 16},
        "deflate": {"compression": 8},
        "predictor": {"compression": 8, "predictor": True, "tile": 32},
    }[kind]
    alpha: Pixels = (smooth()[..., 1] | 1).astype(np.uint8)
    for photometric, samples in ((2, smooth()), (2, with_extra(smooth(), alpha)), (1, with_extra(GREY, alpha))):
        has_alpha = samples.shape[2] != 3
        stored = wide(samples) if bits == 16 else samples
        more: dict[int, tuple[int, ...]] = {338: (2,)} if has_alpha else {}
        data = tiff(stored, photometric=photometric, order=order, planar=planar, more=more, **options)
        picture = decode(data)
        colours = samples[..., :3] if photometric == 2 else np.dstack([GREY] * 3)
        np.testing.assert_array_equal(picture.rgb, colours)
        if has_alpha:
            assert picture.alpha is not None
            np.testing.assert_array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_with_alpha_is_read(bits: int, planar: bool) -> None:
    inks = np.array(Image.fromarray(smooth()).convert("CMYK"))
    alpha = np.full((32, 48), 255, np.uint8)
    alpha[:8] = 0
    samples = with_extra(inks, alpha)
    stored = wide(samples) if bits == 16 else samples
    picture = decode(tiff(stored, photometric=5, planar=planar, more={338: (2,)}))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert difference(picture.rgb[8:], np.array(Image.fromarray(inks, "CMYK").convert("RGB"))[8:]) < 1


def test_premultiplied_colours_are_converted_back() -> None:
    alpha = np.full((32, 48), 128, np.uint8)
    samples = with_extra(np.round(smooth() * (128 / 255)).astype(np.uint8), alpha)
    picture = decode(tiff(wide(samples), more={338: (1,)}))
    assert np.abs(picture.rgb.astype(int) - smooth()).max() <= 2


def test_extra_samples_that_are_not_opacity_are_left_out() -> None:
    picture = decode(tiff(wide(with_extra(smooth(), GREY, GREY)), more={338: (0, 0)}))
    np.testing.assert_array_equal(picture.rgb, smooth())
    assert picture.alpha is None


@pytest.mark.parametrize(("format", "words"), [(2, "signed"), (3, "floating-point")])
def test_samples_without_a_standard_range_are_refused_by_name(format: int, words: str) -> None:
    for samples in (smooth(), wide(smooth())):
        with pytest.raises(ImageFormatError, match=words):
            decode(tiff(samples, more={339: (format,) * 3}))


def test_the_first_picture_that_is_not_a_thumbnail_is_read() -> None:
    small, large = smooth(24, 16).tobytes(), smooth().tobytes()

    def directory(width: int, height: int, start: int, **kind: int) -> dict[int, tuple[int, ...]]:
        tags = {256: (width,), 257: (height,), 258: (8, 8, 8), 259: (1,), 262: (2,), 273: (start,), 277: (3,)}
        return (
            tags
            | {278: (height,), 279: (width * height * 3,)}
            | {int(tag[1:]): (value,) for tag, value in kind.items()}
        )

    page = directory(48, 32, 8 + len(small))
    for thumbnail in ({"_254": 1}, {"_254": 5}, {"_254": 4}, {"_255": 2}):
        data = tiff_file(small + large, [directory(24, 16, 8, **thumbnail), page])
        picture = decode(data)
        np.testing.assert_array_equal(picture.rgb, smooth())
        assert picture.warning is None
    alone = decode(tiff_file(small, [directory(24, 16, 8, _254=1)]))
    np.testing.assert_array_equal(alone.rgb, smooth(24, 16))


# GIF and BMP


@pytest.mark.parametrize("transparent", [None, 0])
def test_areas_outside_the_first_frame_of_a_gif_are_transparent(transparent: int | None) -> None:
    frame = Image.new("P", (20, 16), 1)
    frame.putpalette([0, 0, 255, 255, 0, 0])
    frame.paste(0, (0, 0, 5, 5))
    options = {} if transparent is None else {"transparency": transparent}
    data = bytearray(saved(frame, "GIF", **options))
    data[6:10] = struct.pack("<HH", 48, 32)
    at = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[at + 1 : at + 5] = struct.pack("<HH", 10, 8)
    picture = decode(bytes(data))
    expected = np.zeros((32, 48), np.uint8)
    expected[8:24, 10:30] = 255
    if transparent is not None:
        expected[8:13, 10:15] = 0
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, expected)
    assert (picture.rgb[23, 29] == (255, 0, 0)).all()


def bmp32(pixels: Pixels, *, header: int, masks: tuple[int, ...] = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)) -> bytes:
    """A 32-bit BMP file with masks, blue first, rows from the bottom."""
    height, width = pixels.shape[:2]
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, 0, 0, 0, 0, 0)
    info += struct.pack("<4I", *masks)[: 12 if header < 56 else 16] + bytes(max(0, header - 56))
    body = pixels[::-1].tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


@pytest.mark.parametrize("header", [56, 108, 124])
def test_a_bmp_whose_opacity_is_0_everywhere_is_opaque(header: int) -> None:
    blue_first = smooth()[..., ::-1]
    picture = decode(bmp32(with_extra(blue_first, np.zeros_like(GREY)), header=header))
    np.testing.assert_array_equal(picture.rgb, smooth())
    assert picture.alpha is None
    some = decode(bmp32(with_extra(blue_first, GREY), header=header))
    assert some.alpha is not None
    np.testing.assert_array_equal(some.alpha, GREY)


def test_a_bmp_with_10_bits_a_colour_is_read() -> None:
    wide_pixels = np.round(smooth() / 255 * 1023).astype("<u4")
    packed = wide_pixels[..., 0] << 20 | wide_pixels[..., 1] << 10 | wide_pixels[..., 2]
    data = bmp32(packed.view(np.uint8).reshape(32, 48, 4), header=40, masks=(0x3FF << 20, 0x3FF << 10, 0x3FF, 0))
    np.testing.assert_array_equal(decode(data).rgb, smooth())


# Several pictures, and other formats


@pytest.mark.parametrize(
    ("kind", "word"), [("GIF", "frames"), ("WEBP", "frames"), ("PNG", "frames"), ("TIFF", "pages")]
)
def test_a_file_of_several_pictures_has_a_warning_that_the_first_is_used(kind: str, word: str) -> None:
    frames = [Image.fromarray(noise(20, 20) // (i + 1)) for i in range(3)]
    picture = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert picture.warning == f"Only the first of the file's 3 {word} is used."
    assert decode(saved(frames[0], kind)).warning is None


def test_avif_is_read_with_any_brand() -> None:
    data = saved(Image.fromarray(smooth()), "AVIF", quality=95)
    assert difference(decode(data).rgb, smooth()) < 6
    assert data[8:12] == b"avif"
    assert difference(decode(data[:8] + b"mif1" + data[12:]).rgb, smooth()) < 6


def test_an_avif_that_claims_too_many_pixels_is_refused_by_its_header() -> None:
    data = saved(Image.fromarray(smooth()), "AVIF")
    asked: list[tuple[int, ...]] = []
    with pytest.raises(Exception, match="48 x 32"):
        decode(data, Limits(max_pixels=1000), on_size=lambda *sizes: asked.append(sizes))
    assert asked == []


def test_heic_names_the_extra_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageFormatError, match=r"pip install '\.\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_a_damaged_heic_is_reported_as_damaged() -> None:
    pytest.importorskip("pi_heif")
    with pytest.raises(ImageDecodeError):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


# Opacity


def test_colours_and_opacity_are_unchanged_by_a_round_trip() -> None:
    rgba = with_extra(noise(48, 32), smooth()[..., 1])
    picture = decode(encode(decode(saved(Image.fromarray(rgba), "PNG")), "png"))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, rgba[..., 3])
    seen = rgba[..., 3] > 0
    np.testing.assert_array_equal(picture.rgb[seen], rgba[..., :3][seen])


def test_transparent_pixels_get_the_colours_around_them() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[20:40, 20:40] = (200, 100, 50, 255)
    picture = decode(saved(Image.fromarray(rgba), "PNG"))
    assert difference(picture.rgb, np.full((64, 64, 3), (200, 100, 50), np.uint8)) < 3


def test_an_invisible_picture_keeps_its_colours() -> None:
    rgba = with_extra(smooth(), np.zeros_like(GREY))
    np.testing.assert_array_equal(decode(saved(Image.fromarray(rgba), "PNG")).rgb, smooth())


def test_jpeg_puts_transparent_areas_on_white() -> None:
    rgb = np.zeros((32, 32, 3), np.uint8)
    alpha = np.zeros((32, 32), np.uint8)
    alpha[16:] = 128
    data = encode(Picture(rgb=rgb, alpha=alpha), "jpg", quality=100)
    result = decode(data).rgb
    assert result[:12].min() >= 254
    assert np.abs(result[20:].astype(int) - 127).max() <= 2
