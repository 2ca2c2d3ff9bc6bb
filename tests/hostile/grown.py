"""Files that repeat one harmless part up to a million times, and files that claim false sizes."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from PIL import Image

from tests.hostile.seeds import (
    box,
    chunk,
    exif_block,
    picture,
    riff,
    riff_chunk,
    saved,
    segment,
    split_boxes,
    split_jpeg,
    split_png,
    split_riff,
    srgb_profile,
)

#: Makes a file that contains a part the given number of times.
Make = Callable[[int], bytes]
#: The most bytes of an inflated file.
MAX_BYTES = 24 * 2**20
_JPEG, _PNG, _WEBP, _TIFF, _GIF, _AVIF, _BMP = "jpg", "png", "webp", "tif", "gif", "avif", "bmp"


@dataclass(frozen=True)
class Grown:
    """A file that is made on demand, because some take seconds and megabytes."""

    name: str
    suffix: str
    make: Callable[[], bytes]


def grown_files(*, largest: int = 10**6) -> Iterator[Grown]:
    """Yield every kind of inflated file, in powers of ten up to `largest`, and all files with false sizes."""
    for name, (suffix, make) in _growths().items():
        times = 10
        while times <= largest:
            yield Grown(f"{name}-{times}", suffix, partial(_bounded, make, times))
            times *= 10
    yield from _liars()


def _bounded(make: Make, times: int) -> bytes:
    """Return a file that repeats a part, a tenth as often for as long as the file is too large."""
    while len(data := make(times)) > MAX_BYTES:
        times //= 10
    return data


def _growths() -> dict[str, tuple[str, Make]]:
    return {
        "jpeg-comments": (_JPEG, lambda n: _jpeg_with(segment(0xFE) * n)),
        "jpeg-app1": (_JPEG, lambda n: _jpeg_with(segment(0xE1, b"Exif\0\0") * n)),
        "jpeg-app2": (_JPEG, lambda n: _jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1\xff") * n)),
        "jpeg-app13": (
            _JPEG,
            lambda n: _jpeg_with(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 9) * n),
        ),
        "jpeg-mpf": (_JPEG, lambda n: _jpeg_with(segment(0xE2, b"MPF\0" + exif_block()[6:]) * n)),
        "jpeg-tables": (_JPEG, lambda n: _jpeg_with(_first_part(0xC4) * n)),
        "jpeg-frames": (_JPEG, lambda n: _jpeg_with(_first_part(0xC0) * n)),
        "jpeg-fill": (_JPEG, lambda n: _jpeg_with(b"\xff" * n)),
        "jpeg-starts": (_JPEG, lambda n: b"\xff\xd8" * n + _jpeg_with(b"")),
        "jpeg-scans": (_JPEG, _jpeg_scans),
        "jpeg-scans-large": (_JPEG, _jpeg_scans_large),
        "jpeg-exif-entries": (_JPEG, lambda n: _jpeg_with(segment(0xE1, b"Exif\0\0" + _ifd(min(n, 5000))))),
        "jpeg-exif-loop": (_JPEG, lambda n: _jpeg_with(segment(0xE1, b"Exif\0\0" + _ifd_loop()) * n)),
        "jpeg-xmp": (_JPEG, lambda n: _jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _xmp(n)[:65000]))),
        "jpeg-icc-tags": (_JPEG, lambda n: _jpeg_icc(_icc(n))),
        "png-comments": (_PNG, lambda n: _png_with(chunk(b"tEXt", b"Comment\0") * n)),
        "png-unknown": (_PNG, lambda n: _png_with(chunk(b"nsTt") * n)),
        "png-times": (_PNG, lambda n: _png_with(chunk(b"tIME", bytes(7)) * n)),
        "png-palettes": (_PNG, lambda n: _png_with(chunk(b"PLTE", bytes(3)) * n)),
        "png-text-bomb": (_PNG, lambda n: _png_with(chunk(b"zTXt", b"Comment\0\0" + _zeros(100 * n)))),
        "png-text-bombs": (_PNG, lambda n: _png_with(chunk(b"zTXt", b"Comment\0\0" + _zeros(10**6)) * min(n, 10**4))),
        "png-itxt-bomb": (_PNG, lambda n: _png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + _zeros(100 * n)))),
        "png-profile-bomb": (_PNG, lambda n: _png_with(chunk(b"iCCP", b"icc\0\0" + _zeros(100 * n)))),
        "png-profile-tags": (_PNG, lambda n: _png_with(chunk(b"iCCP", b"icc\0\0" + zlib.compress(_icc(n))))),
        "png-xmp": (_PNG, lambda n: _png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(n)))),
        "png-exif-entries": (_PNG, lambda n: _png_with(chunk(b"eXIf", _ifd(min(n, 65535))))),
        "png-exif-loop": (_PNG, lambda n: _png_with(chunk(b"eXIf", _ifd_loop()) * n)),
        "png-data-bomb": (_PNG, lambda n: _png_data(_zeros(100 * n))),
        "png-data-empty": (_PNG, lambda n: _png_data(zlib.compress(bytes(10_000)), empty=n)),
        "png-frames": (_PNG, _png_frames),
        "webp-unknown": (_WEBP, lambda n: riff(*split_riff(saved(picture(), "WEBP")), riff_chunk(b"nsTt") * n)),
        "webp-frames": (_WEBP, _webp_frames),
        "webp-profile": (_WEBP, lambda n: _webp_with(riff_chunk(b"ICCP", _icc(n)), flags=0x20)),
        "webp-exif": (_WEBP, lambda n: _webp_with(b"", after=riff_chunk(b"EXIF", _ifd(min(n, 65535))), flags=8)),
        "webp-xmp": (_WEBP, lambda n: _webp_with(b"", after=riff_chunk(b"XMP ", _xmp(n)), flags=4)),
        "tiff-entries": (_TIFF, lambda n: _tiff_with(n)),
        "tiff-big-entries": (_TIFF, _big_tiff_entries),
        "tiff-pages": (_TIFF, _tiff_chain),
        "tiff-strips": (_TIFF, _tiff_strips),
        "tiff-samples": (_TIFF, _tiff_samples),
        "tiff-nested": (_TIFF, _tiff_nested),
        "tiff-xmp": (_TIFF, lambda n: saved(picture(), "TIFF", tiffinfo={700: _xmp(n)})),
        "tiff-deflate-bomb": (_TIFF, _tiff_deflate_bomb),
        "gif-comments": (_GIF, lambda n: _gif_with(b"\x21\xfe\1x\0" * n)),
        "gif-empty": (_GIF, lambda n: _gif_with(b"\0" * n)),
        "gif-blocks": (_GIF, lambda n: _gif_with(b"\x21\xff" + b"\1x" * n + b"\0")),
        "gif-controls": (_GIF, lambda n: _gif_with(b"\x21\xf9\4\0\0\0\0\0" * n)),
        "gif-frames": (_GIF, lambda n: _gif_frames(n)),
        "avif-boxes": (_AVIF, lambda n: _avif(box(b"free") * n)),
        "avif-nested": (_AVIF, lambda n: box(b"ftyp", b"avif\0\0\0\0mif1avif") + _nested_boxes(n)),
        "avif-brands": (_AVIF, lambda n: box(b"ftyp", b"avif\0\0\0\0" + b"mif1" * n) + _avif(b"")),
        "bmp-run": (_BMP, _bmp_runs),
        "svg-comments": ("svg", lambda n: b"<!---->" * n + b"<svg/>"),
        "svg-comments-no-end": ("jpg", lambda n: b"<!---->" * n + b"x"),
        "svg-prologs": ("svg", lambda n: b"<?xml?>" * n + b"<svg/>"),
        "svg-doctypes": ("svg", lambda n: b"<!DOCTYPE svg>" * n + b"x"),
        "svg-nested": ("svg", lambda n: b"<svg>" + b"<g>" * n + b"</g>" * n + b"</svg>"),
        "svg-entities": ("svg", lambda n: b"<!DOCTYPE svg [" + b'<!ENTITY a "&a;&a;">' * n + b"]><svg>&a;</svg>"),
        "spaces": ("jpg", lambda n: b" \n\t" * n + b"<svg"),
        "heic-brands": ("heic", lambda n: box(b"ftyp", b"heic\0\0\0\0" + b"mif1" * n) + box(b"meta", bytes(40))),
        "heic-nested": ("heic", lambda n: box(b"ftyp", b"heic\0\0\0\0mif1heic") + _nested_boxes(n)),
        "pdf-comments": ("pdf", lambda n: b"%PDF-1.7\n" + b"%\n" * n),
        "pnm-comments": ("ppm", lambda n: b"P6\n" + b"#\n" * n + b"64 64\n255\n"),
        "radiance-lines": ("hdr", lambda n: b"#?RADIANCE\n" + b"A=B\n" * n + b"\n-Y 64 +X 64\n"),
    }


def _liars() -> Iterator[Grown]:
    """Yield files that claim to be huge and contain almost nothing, and tiny files that are large pictures."""
    for name, suffix, data in _false_sizes():
        yield Grown(name, suffix, partial(bytes, data))
    for format, suffix in (("PNG", _PNG), ("GIF", _GIF), ("WEBP", _WEBP), ("JPEG", _JPEG), ("TIFF", _TIFF)):
        yield Grown(f"{suffix}-flat-49mp", suffix, partial(_flat, format))


@cache
def _flat(format: str) -> bytes:
    options = {"compression": "tiff_adobe_deflate"} if format == "TIFF" else {}
    return saved(Image.new("L", (7000, 7000), 128), format, **options)


def _false_sizes() -> Iterator[tuple[str, str, bytes]]:
    for width, height in ((65535, 65535), (30000, 30000), (7000, 7000), (2**31 - 1, 1), (1, 2**31 - 1), (0, 0), (1, 1)):
        size = f"{width}x{height}"
        header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 1)
        data = chunk(b"IDAT", zlib.compress(b"\0"))
        yield f"png-says-{size}", _PNG, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND")
        bmp = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 32, 0, 0, 0, 0, 0, 0)
        yield f"bmp-says-{size}", _BMP, b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + bmp
        tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
        tags |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, 64)}
        yield f"tiff-says-{size}", _TIFF, _tiff(tags)
        if max(width, height) <= 65535:
            sides = struct.pack(">HH", height, width)
            frame = segment(0xC2, b"\x08" + sides + b"\3\1\x11\0\2\x11\0\3\x11\0")
            parts = [part if part[1:2] != b"\xc0" else frame for part in split_jpeg(_jpeg_with(b""))]
            yield f"jpeg-says-{size}", _JPEG, b"".join(parts)
            screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
            frames = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\1\x44\0"
            yield f"gif-says-{size}", _GIF, screen + frames + b";"
        sides = struct.pack("<I", width - 1 & 0xFFFFFF)[:3] + struct.pack("<I", height - 1 & 0xFFFFFF)[:3]
        yield (
            f"webp-says-{size}",
            _WEBP,
            riff(riff_chunk(b"VP8X", bytes(4) + sides), riff_chunk(b"VP8L", b"\x2f" + bytes(9))),
        )
        place = _avif(b"").index(b"ispe") + 8
        avif = _avif(b"")[:place] + struct.pack(">II", width, height) + _avif(b"")[place + 8 :]
        yield f"avif-says-{size}", _AVIF, avif


@cache
def _plain_jpeg() -> tuple[bytes, ...]:
    return tuple(split_jpeg(saved(picture(), "JPEG")))


def _jpeg_with(more: bytes) -> bytes:
    first, *rest = _plain_jpeg()
    return first + more + b"".join(rest)


def _first_part(marker: int) -> bytes:
    return next(part for part in _plain_jpeg() if part[1] == marker)


def _jpeg_icc(profile: bytes) -> bytes:
    pieces = [profile[place : place + 65_000] for place in range(0, len(profile), 65_000)][:255]
    heads = (b"ICC_PROFILE\0" + bytes((number, len(pieces))) for number in range(1, len(pieces) + 1))
    return _jpeg_with(b"".join(segment(0xE2, head + piece) for head, piece in zip(heads, pieces, strict=True)))


def _jpeg_scans(times: int) -> bytes:
    parts = split_jpeg(saved(picture(), "JPEG", progressive=True))
    last = max(place for place, part in enumerate(parts) if part[1:2] == b"\xda")
    return b"".join([*parts[: last + 2], *parts[last : last + 2] * times, *parts[last + 2 :]])


@cache
def _large_progressive() -> tuple[bytes, bytes]:
    data = saved(Image.new("L", (6000, 6000), 128), "JPEG", progressive=True)
    place = data.rindex(b"\xff\xda")
    return data[:-2], data[place : place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")]


def _jpeg_scans_large(times: int) -> bytes:
    """Return a JPEG of 36 million pixels with extra empty scans. The decoder passes through all pixels for each."""
    whole, scan = _large_progressive()
    return whole + scan * times + b"\xff\xd9"


@cache
def _plain_png() -> tuple[bytes, ...]:
    return tuple(split_png(saved(picture(), "PNG")))


def _png_with(more: bytes) -> bytes:
    signature, header, *rest = _plain_png()
    return signature + header + more + b"".join(rest)


def _png_data(data: bytes, *, empty: int = 0) -> bytes:
    signature, header, *_ = _plain_png()
    return signature + header + chunk(b"IDAT") * empty + chunk(b"IDAT", data) + chunk(b"IEND")


def _png_frames(times: int) -> bytes:
    control = struct.pack(">IIIIIHHBB", 0, 51, 37, 0, 0, 1, 1, 0, 0)
    return _png_with(chunk(b"acTL", struct.pack(">II", times, 0)) + chunk(b"fcTL", control) * times)


@cache
def _zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def _xmp(depth: int) -> bytes:
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<a>" * depth + b"</a>" * depth + b"</x:xmpmeta>"


def _icc(tags: int) -> bytes:
    """Return a colour profile with a number of tags, which all point to the same place."""
    sound = srgb_profile()
    count = int.from_bytes(sound[128:132], "big")
    table = sound[132 : 132 + 12 * count]
    more = b"".join(b"x%03d" % (number % 1000) + table[4:12] for number in range(min(tags, 1000))) * max(
        1, tags // 1000
    )
    body = sound[:128] + struct.pack(">I", count + tags) + table + more + sound[132 + 12 * count :]
    return struct.pack(">I", len(body)) + body[4:]


def _ifd(entries: int) -> bytes:
    """Return EXIF data with a number of entries."""
    entry = b"".join(struct.pack("<HHII", 0xC000 + number % 999, 3, 1, 6) for number in range(min(entries, 999)))
    body = entry * (entries // 999 + 1)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + body[: 12 * entries] + bytes(4)


def _ifd_loop() -> bytes:
    """Return EXIF data whose directory is its own sub-directory and its own next directory."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0xA005))
    return b"II*\0\x08\0\0\0\3\0" + entries + struct.pack("<I", 8)


def _tiff(tags: dict[int, tuple[int, int, int]], more: bytes = b"") -> bytes:
    """Return a TIFF with one directory of tags, each with type, count and value."""
    entries = b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + more


_BASE = {258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1), 256: (4, 1, 64), 257: (4, 1, 64)}


def _tiff_with(entries: int) -> bytes:
    tags = _BASE | {273: (4, 1, 8), 278: (4, 1, 64), 279: (4, 1, 4096)}
    tags |= {1000 + number: (4, 1, 7) for number in range(min(entries, 60_000))}
    return _tiff(tags, bytes(4096))


def _big_tiff_entries(entries: int) -> bytes:
    tags = _BASE | {273: (4, 1, 16), 278: (4, 1, 64), 279: (4, 1, 4096)}
    first = [struct.pack("<HHQQ", tag, *values) for tag, values in sorted(tags.items())]
    more = struct.pack("<HHQQ", 50_000, 4, 1, 7) * entries
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(tags) + entries) + b"".join(first) + more + bytes(5000)


def _tiff_chain(pages: int) -> bytes:
    tags = sorted((_BASE | {273: (4, 1, 8), 278: (4, 1, 64), 279: (4, 1, 4096)}).items())
    entries = b"".join(struct.pack("<HHII", tag, *values) for tag, values in tags)
    size = 2 + len(entries) + 4
    out = io.BytesIO()
    out.write(b"II*\0\x08\0\0\0")
    for page in range(min(pages, 200_000)):
        out.write(struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8 + (page + 1) * size))
    return out.getvalue() + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8)  # back to the start


def _tiff_strips(strips: int) -> bytes:
    place = 8 + 2 + 12 * 9 + 4
    tags = _BASE | {257: (4, 1, strips), 273: (4, strips, place), 278: (4, 1, 1), 279: (4, strips, place + 4 * strips)}
    return _tiff(tags, struct.pack("<I", 8) * strips + struct.pack("<I", 64) * strips)


def _tiff_samples(samples: int) -> bytes:
    place, samples = 8 + 2 + 12 * 9 + 4, min(samples, 65535)
    tags = _BASE | {258: (3, samples, place), 277: (3, 1, samples), 273: (4, 1, 8), 278: (4, 1, 64), 279: (4, 1, 64)}
    return _tiff(tags, struct.pack("<H", 8) * samples)


def _tiff_nested(depth: int) -> bytes:
    """Return a TIFF whose EXIF directory has an EXIF directory, and so on."""
    tags = sorted((_BASE | {273: (4, 1, 8), 278: (4, 1, 64), 279: (4, 1, 4096)}).items())
    entries = b"".join(struct.pack("<HHII", tag, *values) for tag, values in tags)
    first = 8 + 2 + len(entries) + 12 + 4
    out = [
        b"II*\0\x08\0\0\0",
        struct.pack("<H", len(tags) + 1),
        entries,
        struct.pack("<HHII", 0x8769, 4, 1, first),
        bytes(4),
    ]
    out += [
        struct.pack("<HHHIII", 1, 0x8769, 4, 1, first + 18 * (level + 1), 0) for level in range(min(depth, 500_000))
    ]
    return b"".join(out) + bytes(4096)


def _tiff_deflate_bomb(times: int) -> bytes:
    data = _zeros(100 * times)
    place = 8 + 2 + 12 * 9 + 4
    tags = _BASE | {259: (3, 1, 8), 273: (4, 1, place), 278: (4, 1, 64), 279: (4, 1, len(data))}
    return _tiff(tags, data)


@cache
def _plain_gif() -> tuple[bytes, bytes]:
    data = saved(picture("P"), "GIF")
    place = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:place], data[place:]


def _gif_with(more: bytes) -> bytes:
    head, rest = _plain_gif()
    return head + more + rest


def _gif_frames(times: int) -> bytes:
    head, rest = _plain_gif()
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return head + rest[:-1] + frame * times + b";"


def _webp_with(before: bytes, *, after: bytes = b"", flags: int) -> bytes:
    sides = struct.pack("<I", 50)[:3] + struct.pack("<I", 36)[:3]
    picture_chunks = split_riff(saved(picture(), "WEBP"))
    return riff(riff_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + sides), before, *picture_chunks, after)


def _webp_frames(times: int) -> bytes:
    sides = struct.pack("<I", 50)[:3] + struct.pack("<I", 36)[:3]
    still = split_riff(saved(picture(size=(2, 2)), "WEBP", lossless=True))[0]
    frame = riff_chunk(b"ANMF", bytes(6) + struct.pack("<I", 1)[:3] * 2 + b"\1\0\0\0" + still)
    head = riff_chunk(b"VP8X", b"\2\0\0\0" + sides) + riff_chunk(b"ANIM", bytes(6))
    return riff(head, frame * times)


@cache
def _plain_avif() -> tuple[bytes, ...]:
    return tuple(split_boxes(saved(picture(), "AVIF")))


def _avif(more: bytes) -> bytes:
    return b"".join(_plain_avif()) + more


def _nested_boxes(depth: int) -> bytes:
    """Return nested boxes. Those whose size does not fit claim to extend to the end of the file."""
    size = 8 * depth
    return b"".join(struct.pack(">I", size - 8 * level) + b"meta" for level in range(depth))


def _bmp_runs(times: int) -> bytes:
    """Return a BMP whose compressed rows contain only ends of lines and jumps."""
    header = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 2 * times, 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 62, 0, 0, 62) + header + bytes(8) + b"\0\0\0\2\1\1" * (times // 3) + b"\0\1"
