"""Reads the formats that need little more than Pillow: WebP, GIF, BMP, AVIF, and HEIC with `pi_heif`."""

import struct
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from nst_core.errors import ImageFormatError
from nst_core.extras import install_command
from nst_core.images.picture import Limits
from nst_core.images.source import Loaded, Source, loaded, opened, split, unless_opaque

#: Pixels of a BMP whose bits are taken apart at a time, in 64-bit numbers.
_BAND_PIXELS = 2**16


def open_webp(data: bytes, limits: Limits) -> Source:
    """Read the header of a WebP file. The size is checked here, because libwebp allocates the canvas on opening."""
    limits.target(_webp_size(data))
    image = opened(WebPImageFile, BytesIO(data))
    frames: int = getattr(image, "n_frames", 1)
    return Source(size=image.size, load=lambda _: loaded(image), frames=frames)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk of a WebP file (RFC 9649); raise ValueError if it is damaged."""
    kind, bits = data[12:16], data[20:30]
    if kind == b"VP8X" and len(bits) == 10:
        return 1 + int.from_bytes(bits[4:7], "little"), 1 + int.from_bytes(bits[7:10], "little")
    if kind == b"VP8L" and len(bits) >= 5 and bits[0] == 0x2F:
        packed = int.from_bytes(bits[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(bits) == 10 and bits[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(bits[6:8], "little") & 0x3FFF, int.from_bytes(bits[8:10], "little") & 0x3FFF
    raise ValueError("no WebP header")


def open_gif(data: bytes) -> Source:
    """Read the header of a GIF file. Pixels outside of its first frame are transparent."""
    image = opened(GifImageFile, BytesIO(data))
    box = image.tile[0][1] if image.tile else (0, 0, *image.size)

    def load(_: tuple[int, int]) -> Loaded:
        result = loaded(image)
        if box != (0, 0, *image.size):
            inside = Image.new("L", image.size)
            inside.paste(255 if result.alpha is None else result.alpha.crop(box), box)
            result.alpha = unless_opaque(inside)
        return result

    return Source(size=image.size, load=load, frames=_gif_frames(data))


def _gif_frames(data: bytes) -> int:
    """Return how many frames a GIF file has, at least 1."""
    second = opened(GifImageFile, BytesIO(data))
    return max(1, getattr(second, "n_frames", 1))


def open_bmp(data: bytes) -> Source:
    """Read the header of a BMP file."""
    try:
        image = opened(BmpImageFile, BytesIO(data))
    except ImageFormatError:
        if (fields := _bit_fields(data)) is None:
            raise
        return fields

    def load(_: tuple[int, int]) -> Loaded:
        result = loaded(image)
        # Many programs leave the fourth byte 0 although the header calls it opacity.
        if result.alpha is not None and result.alpha.getextrema() == (0, 0):
            result.alpha = None
        return result

    return Source(size=image.size, load=load)


def _bit_fields(data: bytes) -> Source | None:
    """Return a BMP file whose header has masks of any number of bits for its colours; None for other files."""
    start, header, width, height, _, bits, compression = struct.unpack_from("<I I i i H H I", data, 10)
    if header < 40 or compression not in (3, 6) or bits not in (16, 32) or width <= 0 or height == 0:
        return None
    masks = struct.unpack_from("<III", data, 54)
    if not all(masks) or max(masks) >= 1 << bits:
        return None

    def load(_: tuple[int, int]) -> Loaded:
        stride = (width * bits + 31) // 32 * 4
        rows = np.frombuffer(data, np.uint8, stride * abs(height), start).reshape(abs(height), stride)
        pixels = rows.view(f"<u{bits // 8}")[:: -1 if height > 0 else 1, :width]
        colours = np.empty((*pixels.shape, 3), np.uint8)
        for top in range(0, abs(height), band := max(1, _BAND_PIXELS // width)):
            wide = pixels[top : top + band].astype(np.uint64)  # as many bits as a mask of 32 times 255 needs
            for channel, mask in enumerate(masks):
                shift = (mask & -mask).bit_length() - 1
                most = mask >> shift
                colours[top : top + band, :, channel] = (((wide & mask) >> shift) * 255 + most // 2) // most
        return Loaded(colour=Image.fromarray(colours))

    return Source(size=(width, abs(height)), load=load)


def open_avif(data: bytes) -> Source:
    """Read the header of an AVIF file; raise ImageFormatError if Pillow was built without AVIF."""
    try:
        from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile
    except ImportError:
        SUPPORTED = False
    if not SUPPORTED:
        raise ImageFormatError("The image is AVIF, which the installed version of Pillow does not support.")
    image: ImageFile = opened(AvifImageFile, BytesIO(data))
    return Source(size=image.size, load=lambda _: loaded(image), frames=getattr(image, "n_frames", 1))


def open_heic(data: bytes) -> Source:
    """Read the header of a HEIC file; raise ImageFormatError if the extra for it is not installed."""
    try:
        import pi_heif
    except ImportError:
        raise ImageFormatError(f"The image is HEIC; {install_command('heic')} installs what reads it.") from None
    file: Any = pi_heif.open_heif(data, convert_hdr_to_8bit=True)

    def load(_: tuple[int, int]) -> Loaded:
        # libheif has made the image upright; the EXIF orientation no longer applies.
        image: Image.Image = file.to_pillow()
        colour, alpha = split(image)
        return Loaded(colour=colour, alpha=alpha, icc=file.info.get("icc_profile"))

    return Source(size=tuple(file.size), load=load)
