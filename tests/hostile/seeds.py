"""Small, valid pictures of every format, and functions that split and build their files."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

#: Width and height of the valid pictures. They are odd, so that rows and blocks have remainders.
SIZE = (51, 37)


@dataclass(frozen=True)
class Seed:
    """A valid picture file."""

    kind: str
    suffix: str
    data: bytes


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture with smooth and detailed parts."""
    width, height = size
    rng = np.random.default_rng(7)
    ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] % 200
    pixels = (ramp + rng.integers(0, 50, (height, width, 3))).astype(np.uint8)
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return image.convert(mode)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """Return a picture as a file in a format."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@cache
def srgb_profile() -> bytes:
    """Return a valid colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@cache
def exif_block() -> bytes:
    """Return valid EXIF data with an orientation and a sub-directory."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return exif.tobytes()


@cache
def seeds() -> tuple[Seed, ...]:
    """Return valid files of all formats and most of their variants."""
    return tuple(_seeds())


def _seeds() -> Iterator[Seed]:
    def several() -> dict[str, Any]:
        # Made again for each file, because a writer stores its settings on the picture.
        return {"save_all": True, "append_images": [picture().rotate(angle) for angle in (90, 180)]}

    tagged = {"icc_profile": srgb_profile(), "exif": exif_block()}
    for mode in ("RGB", "L", "CMYK"):
        yield Seed(f"jpeg-{mode}", "jpg", saved(picture(mode), "JPEG", **(tagged if mode == "RGB" else {})))
    yield Seed("jpeg-progressive", "jpg", saved(picture(), "JPEG", progressive=True, subsampling="4:2:0"))
    yield Seed("jpeg-restarts", "jpg", saved(picture(), "JPEG", restart_marker_blocks=2))
    yield Seed("jpeg-mpo", "jpg", saved(picture(), "MPO", **several()))
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        yield Seed(f"png-{mode.replace(';', '')}", "png", saved(picture(mode), "PNG"))
    yield Seed("png-tagged", "png", saved(picture(), "PNG", **tagged, transparency=(1, 2, 3)))
    yield Seed("png-animated", "png", saved(picture(), "PNG", **several()))
    yield Seed("webp-lossy", "webp", saved(picture("RGBA"), "WEBP", **tagged))
    yield Seed("webp-lossless", "webp", saved(picture(), "WEBP", lossless=True))
    yield Seed("webp-animated", "webp", saved(picture(), "WEBP", **several()))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        yield Seed(f"tiff-{compression}", "tif", saved(picture(), "TIFF", compression=compression))
    for mode in ("RGBA", "L", "P", "CMYK", "I;16", "F", "LAB"):
        source = picture().convert("L").convert("F") if mode == "F" else picture(mode)
        yield Seed(f"tiff-{mode.replace(';', '')}", "tif", saved(source, "TIFF"))
    yield Seed("tiff-g4", "tif", saved(picture("1"), "TIFF", compression="group4"))
    yield Seed("tiff-pages", "tif", saved(picture(), "TIFF", **several(), compression="tiff_lzw"))
    yield Seed("tiff-tagged", "tif", saved(picture(), "TIFF", icc_profile=srgb_profile(), tiffinfo={274: 6}))
    yield Seed("tiff-big", "tif", saved(picture(), "TIFF", big_tiff=True))
    for mode in ("RGB", "P", "1", "RGBA"):
        yield Seed(f"bmp-{mode}", "bmp", saved(picture(mode), "BMP"))
    yield Seed("gif-still", "gif", saved(picture("P"), "GIF", transparency=3))
    yield Seed("gif-animated", "gif", saved(picture().convert("P"), "GIF", **several(), loop=0))
    yield Seed("avif", "avif", saved(picture(), "AVIF", **tagged))
    yield Seed("avif-alpha", "avif", saved(picture("RGBA"), "AVIF", quality=30))
    yield Seed("avif-animated", "avif", saved(picture(), "AVIF", **several()))
    for name, (suffix, data) in lookalikes().items():
        yield Seed(name, suffix, data)


def lookalikes() -> dict[str, tuple[str, bytes]]:
    """Return the first bytes of files that are not photos, by name, with their suffix."""
    page = b"<!DOCTYPE html><html><body>404</body></html>"
    return {
        "svg": ("svg", b'<?xml version="1.0"?><!-- a --><svg xmlns="http://www.w3.org/2000/svg" width="64"/>'),
        "heic": ("heic", box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(60)) + box(b"mdat", bytes(99))),
        "heif-sequence": ("heic", box(b"ftyp", b"hevc\0\0\0\0msf1hevc") + box(b"moov", bytes(60))),
        "pdf": ("pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"),
        "postscript": ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage"),
        "jpeg2000": ("jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + bytes(50)),
        "jpegxl": ("jxl", b"\xff\x0a" + bytes(60)),
        "photoshop": ("psd", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(12)),
        "icon": ("ico", b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, 40, 22) + bytes(40)),
        "openexr": ("exr", b"\x76\x2f\x31\x01\2\0\0\0channels\0chlist\0" + bytes(40)),
        "radiance": ("hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 64 +X 64\n" + bytes(40)),
        "pnm": ("ppm", b"P6\n64 64\n255\n" + bytes(64 * 64 * 3)),
        "page": ("jpg", page),
        "gzip": ("jpg", b"\x1f\x8b\x08\0" + bytes(40)),
        "text": ("jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
        "clip": ("mp4", box(b"ftyp", b"isom\0\0\2\0isomiso2") + box(b"moov", bytes(100))),
    }


def box(kind: bytes, body: bytes = b"") -> bytes:
    """Return a box of an ISO media file, such as AVIF or HEIC."""
    return struct.pack(">I", 8 + len(body)) + kind + body


def segment(marker: int, body: bytes = b"") -> bytes:
    """Return a segment of a JPEG. The body has at most 65,533 bytes."""
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def riff_chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Return a chunk of a WebP."""
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    """Return a WebP made of chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def split_png(data: bytes) -> list[bytes]:
    """Return the signature and the chunks of a valid PNG."""
    parts, place = [data[:8]], 8
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        parts.append(data[place:end])
        place = end
    return parts


def split_jpeg(data: bytes) -> list[bytes]:
    """Return the segments of a valid JPEG. The data of each scan is a separate part."""
    parts, place = [data[:2]], 2
    while place < len(data):
        if data[place] == 0xFF and data[place + 1] not in (0, *range(0xD0, 0xD8)):
            end = place + 2
            if data[place + 1] != 0xD9:
                end += int.from_bytes(data[place + 2 : place + 4], "big")
        else:
            end = place
            while end < len(data) - 1 and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
            end = end if end < len(data) - 1 else len(data)
        parts.append(data[place:end])
        place = end
    return parts


def split_riff(data: bytes) -> list[bytes]:
    """Return the chunks of a valid WebP, without the outer header."""
    parts, place = [], 12
    while place < len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        parts.append(data[place:end])
        place = end
    return parts


def split_boxes(data: bytes) -> list[bytes]:
    """Return the outermost boxes of a valid AVIF."""
    parts, place = [], 0
    while place < len(data):
        end = place + max(8, int.from_bytes(data[place : place + 4], "big"))
        parts.append(data[place:end])
        place = end
    return parts
