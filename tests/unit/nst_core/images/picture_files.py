"""Image files made in code, valid and invalid."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Pixels = npt.NDArray[np.uint8]


def smooth(width: int = 48, height: int = 32) -> Pixels:
    """A picture that survives lossy formats: gradients, with a different colour in each corner."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    return np.stack([red, green, 255 - red], axis=2).astype(np.uint8)


def noise(width: int, height: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def difference(a: Pixels, b: Pixels) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG file built by hand, because Pillow writes neither 16-bit colour nor 16-bit transparency."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    stride = len(rows) // height
    raw = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


LOSSLESS = {
    "png": lambda image: saved(image, "PNG"),
    "bmp": lambda image: saved(image, "BMP"),
    "tiff": lambda image: saved(image, "TIFF"),
    "tiff-lzw": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
    "webp-lossless": lambda image: saved(image, "WEBP", lossless=True),
}
LOSSY = {
    "jpeg": lambda image: saved(image, "JPEG", quality=95, subsampling=0),
    "jpeg-progressive": lambda image: saved(image, "JPEG", quality=95, progressive=True),
    "webp": lambda image: saved(image, "WEBP", quality=95),
    "gif": lambda image: saved(image, "GIF"),
}
#: Options with which each format changes colours least.
BEST: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}
Writer = Callable[[Image.Image], bytes]
WRITERS: dict[str, Writer] = {**LOSSLESS, **LOSSY}


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged, so that its red is blue."""
    data = bytearray(srgb_profile())
    count = struct.unpack_from(">I", data, 128)[0]
    entry = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = entry[b"rXYZ"], entry[b"bXYZ"]
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = data[blue + 4 : blue + 12], data[red + 4 : red + 12]
    return bytes(data)


def lab_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def tiff_grey16(width: int, height: int, strip: bytes, *, bits: int = 16, photometric: int = 1) -> bytes:
    """A little-endian, uncompressed TIFF with one strip, built by hand."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags[279] = len(strip)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + ifd


def tiff(
    samples: npt.NDArray[np.unsignedinteger],
    *,
    photometric: int = 2,
    order: str = "<",
    planar: bool = False,
    tile: int | None = None,
    compression: int = 1,
    predictor: bool = False,
    rows: int = 10,
    more: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """A TIFF file of H x W x samples with 8 or 16 bits, built by hand. `more` has extra tags.

    Compressions are 1 (none) and 8 (deflate); strips have so many `rows`, or there are square tiles.
    """
    height, width, count = samples.shape
    bits = samples.dtype.itemsize * 8
    planes = [samples[..., i : i + 1] for i in range(count)] if planar else [samples]
    down, across = (tile, tile) if tile else (rows, width)
    packed = []
    for plane in planes:
        for top in range(0, height, down):
            for left in range(0, width, across):
                block = plane[top : top + down, left : left + across]
                if tile:
                    block = np.pad(block, ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0)))
                if predictor:
                    block = np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1]))
                raw = block.astype(f"{order}u{bits // 8}").tobytes()
                packed.append(zlib.compress(raw) if compression == 8 else raw)
    tags: dict[int, tuple[int, ...]] = {256: (width,), 257: (height,), 258: (bits,) * count, 259: (compression,)}
    tags |= {262: (photometric,), 277: (count,), 284: (2 if planar else 1,), 317: (2 if predictor else 1,)}
    starts = tuple(8 + sum(map(len, packed[:i])) for i in range(len(packed)))
    sizes = tuple(map(len, packed))
    tags |= {322: (tile,), 323: (tile,), 324: starts, 325: sizes} if tile else {273: starts, 278: (rows,), 279: sizes}
    tags |= more or {}
    return tiff_file(b"".join(packed), [tags], order=order)


def tiff_file(pixels: bytes, directories: list[dict[int, tuple[int, ...]]], *, order: str = "<") -> bytes:
    """A TIFF file of pixels, which begin at byte 8, and directories. All values are 32-bit numbers."""
    body, at = b"", 8 + len(pixels)
    for number, tags in enumerate(directories):
        lists, entries = b"", b""
        after = at + 2 + 12 * len(tags) + 4
        for tag, values in sorted(tags.items()):
            numbers = struct.pack(f"{order}{len(values)}I", *values)
            field = numbers if len(values) == 1 else struct.pack(order + "I", after + len(lists))
            lists += b"" if len(values) == 1 else numbers
            entries += struct.pack(order + "HHI", tag, 4, len(values)) + field
        at = after + len(lists)
        following = at if number + 1 < len(directories) else 0
        body += struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following) + lists
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(pixels))
    return head + pixels + body


def claiming(kind: str, width: int, height: int) -> bytes:
    """Return a small file whose header claims a size."""
    if kind == "png":
        return png(width, height, depth=8, colour=2, rows=b"")
    if kind == "tiff":
        return tiff_grey16(width, height, b"")
    if kind == "webp":
        body = (
            b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        )
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    data = bytearray(WRITERS[kind](Image.fromarray(smooth())))
    if kind == "jpeg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def slow_jpeg(scans: int = 90) -> bytes:
    """Return a small JPEG file that takes seconds to decode: it repeats its last scan, a pass over 49 megapixels."""
    data = saved(Image.new("RGB", (7_000, 7_000), "teal"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


CLAIMING = ["png", "tiff", "webp", "jpeg", "gif", "bmp"]
