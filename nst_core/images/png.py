"""Reads PNG files. Metadata is read here, because Pillow refuses intact pictures whose metadata is faulty or large.

Pillow gets only the chunks with pixels, and EXIF. A chunk that is not needed may be damaged or huge.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile

from nst_core.images.source import Loaded, Source, image_turn, loaded, opened, to_8_bit, unless_opaque

Samples = npt.NDArray[np.uint8]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: The most bytes of a colour profile; those of printers have a few million.
_MAX_PROFILE_BYTES = 16 << 20
#: The gAMA value of files whose samples are close enough to sRGB.
_SRGB_GAMMA, _TOLERANCE = 1 / 2.2, 0.01
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6


@dataclass(kw_only=True)
class _Chunks:
    """The content of a file."""

    header: bytes = b""
    palette: bytes | None = None
    transparency: bytes | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    #: Samples are light to this power; None for sRGB.
    gamma: float | None = None
    frames: int = 1
    #: Made by Apple's tools for iPhones: deflated without a header, blue first, colours multiplied by the opacity.
    is_apple: bool = False
    pixels: bytes = b""

    @property
    def depth(self) -> int:
        return self.header[8]

    @property
    def colour_type(self) -> int:
        return self.header[9]


def open_png(data: bytes) -> Source:
    """Read the header and the metadata of a PNG file; raise ValueError if a chunk that is needed is damaged."""
    chunks = _read(data)
    file = _clean(chunks)
    image = opened(PngImageFile, BytesIO(file))
    return Source(size=image.size, load=lambda _: _load(image, file, chunks), frames=chunks.frames)


def _read(data: bytes) -> _Chunks:
    chunks, pixels = _Chunks(), list[memoryview]()
    has_srgb = False
    for name, body, is_intact in _walk(data):
        if name == b"IDAT":
            pixels.append(body)
        elif not chunks.header and name not in (b"IHDR", b"CgBI"):
            raise ValueError("no header")
        # A chunk with a wrong checksum is ignored, unless the picture needs it.
        if not is_intact:
            if name in (b"IHDR", b"PLTE", b"IDAT"):
                raise ValueError("a chunk is damaged")
            continue
        if name == b"IHDR":
            chunks.header = bytes(body)
        elif name == b"PLTE":
            chunks.palette = bytes(body)
        elif name == b"tRNS":
            chunks.transparency = bytes(body)
        elif name == b"eXIf":
            chunks.exif = bytes(body)
        elif name == b"iCCP":
            chunks.icc = _profile(bytes(body))
        elif name == b"gAMA" and len(body) == 4:
            chunks.gamma = int.from_bytes(body) / 100_000
        elif name == b"sRGB":
            has_srgb = True
        elif name == b"acTL" and len(body) == 8:
            chunks.frames = int.from_bytes(body[:4])
        elif name == b"CgBI":
            chunks.is_apple = True
    if len(chunks.header) != 13 or not pixels:
        raise ValueError("no pixels")
    if has_srgb or chunks.icc or not chunks.gamma or abs(chunks.gamma - _SRGB_GAMMA) < _TOLERANCE:
        chunks.gamma = None
    chunks.pixels = (b"\x78\x01" if chunks.is_apple else b"") + b"".join(pixels)
    return chunks


def _walk(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Yield each chunk's name, its body and whether it is intact, until the end of the picture or of the data."""
    view, position = memoryview(data), len(_SIGNATURE)
    while position + 8 <= len(data):
        length = int.from_bytes(view[position : position + 4])
        name = bytes(view[position + 4 : position + 8])
        body, checksum = view[position + 8 :][:length], view[position + 8 + length :][:4]
        if name == b"IEND" or not name.isalpha():
            return
        # Perhaps only the checksum is cut off; missing pixels are noticed when the others are decoded.
        is_cut = len(checksum) < 4 and name == b"IDAT"
        yield name, body, is_cut or bytes(checksum) == zlib.crc32(body, zlib.crc32(name)).to_bytes(4)
        position += 12 + length


def _profile(body: bytes) -> bytes | None:
    """Return the colour profile of an iCCP chunk, or None if it is damaged or too large."""
    packed = body[body.find(b"\0") + 2 :]
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(packed, _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflate.eof else None


def _clean(chunks: _Chunks) -> bytes:
    """Return a file with the chunks that Pillow should read."""
    # Pillow handles transparent entries of a palette, but compares transparent levels without scaling them.
    transparency = chunks.transparency if chunks.colour_type == _PALETTE else None
    kept = [
        (b"IHDR", chunks.header),
        (b"PLTE", chunks.palette),
        (b"tRNS", transparency),
        (b"eXIf", chunks.exif),
        (b"IDAT", chunks.pixels),
        (b"IEND", b""),
    ]
    return _SIGNATURE + b"".join(_chunk(name, body) for name, body in kept if body is not None)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _load(image: ImageFile, file: bytes, chunks: _Chunks) -> Loaded:
    if chunks.colour_type == _GREY and chunks.depth == 16:
        result = _load_grey16(image, chunks)
    else:
        result = loaded(image)
        if chunks.transparency is not None and chunks.colour_type in (_GREY, _RGB):
            alpha = _transparency(result.colour, file, chunks)
            result.alpha = unless_opaque(Image.fromarray(alpha))
        if chunks.gamma is not None:
            channels = len(result.colour.getbands())
            result.colour = result.colour.point(list(_light_curve(chunks.gamma, 256)) * channels)
    if chunks.is_apple:
        result.colour = _from_apple(result.colour, result.alpha)
    result.icc = chunks.icc
    return result


def _load_grey16(image: ImageFile, chunks: _Chunks) -> Loaded:
    # Pillow's own conversion to 8 bits clips at 255 instead of scaling.
    image.load()
    samples = np.asarray(image)
    grey = to_8_bit(samples) if chunks.gamma is None else _light_curve(chunks.gamma, 65536)[samples]
    result = Loaded(colour=Image.fromarray(grey), turn=image_turn(image))
    if chunks.transparency is not None and len(chunks.transparency) == 2:
        level = int.from_bytes(chunks.transparency)
        result.alpha = unless_opaque(Image.fromarray(_opaque_unless(samples == level)))
    return result


def _transparency(colour: Image.Image, file: bytes, chunks: _Chunks) -> npt.NDArray[np.uint8]:
    """Return the opacity of an image in which one level or colour is transparent."""
    levels = [int.from_bytes((chunks.transparency or b"")[i : i + 2]) for i in range(0, 6, 2)]
    samples = np.asarray(colour)
    if chunks.colour_type == _GREY:
        top = (1 << chunks.depth) - 1
        return _opaque_unless(samples == (levels[0] & top) * 255 // top)
    if chunks.depth == 8:
        return _opaque_unless((samples == np.array([level & 255 for level in levels])).all(axis=2))
    halves = samples, np.asarray(_low_bytes(file))
    transparent = _equal(halves, levels)
    if not transparent.any():
        # Some programs write 16-bit samples, or this chunk, with the lower byte first.
        transparent = _equal(halves, [(level & 255) << 8 | level >> 8 for level in levels])
    return _opaque_unless(transparent)


def _equal(halves: tuple[Samples, Samples], levels: list[int]) -> npt.NDArray[np.bool_]:
    """Return a mask of the pixels that have one 16-bit colour; pixels are given as upper and lower bytes."""
    upper, lower = (np.array(half, np.uint8) for half in zip(*(divmod(level, 256) for level in levels), strict=True))
    same: npt.NDArray[np.bool_] = ((halves[0] == upper) & (halves[1] == lower)).all(axis=2)
    return same


def _low_bytes(file: bytes) -> Image.Image:
    """Return the lower bytes of 16-bit colours; Pillow itself reads the upper ones."""
    image = PngImageFile(BytesIO(file))
    tile: Any = image.tile[0]
    # Read as little-endian samples, so that Pillow takes the second byte for the upper one.
    image.tile = [tile._replace(args="RGB;16L")]
    image.load()
    return image


def _opaque_unless(transparent: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.where(transparent, 0, 255).astype(np.uint8)


def _light_curve(gamma: float, count: int) -> npt.NDArray[np.uint8]:
    """Return the 8-bit sRGB values of `count` levels, which are light to the power of gamma."""
    # As in browsers, which approximate sRGB by a power too.
    curve = np.linspace(0, 1, count) ** min(_SRGB_GAMMA / gamma, 100.0)
    return np.round(curve * 255).astype(np.uint8)


def _from_apple(colour: Image.Image, alpha: Image.Image | None) -> Image.Image:
    blue, green, red = colour.split()
    if alpha is None:
        return Image.merge("RGB", (red, green, blue))
    premultiplied = Image.merge("RGBA", (red, green, blue, alpha)).tobytes()
    return Image.frombytes("RGBa", colour.size, premultiplied).convert("RGBA").convert("RGB")
