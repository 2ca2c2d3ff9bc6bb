"""Image files to pictures.

The format is known by its first bytes and only that format's reader of Pillow is run, so no other parser ever sees
hostile bytes. The size in the header is checked before any pixel is decoded.
"""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from nst_core.errors import ImageDecodeError, ImageFormatError, ImageTooLargeError
from nst_core.images.picture import DEFAULT_MAX_PIXELS, DEFAULT_MIN_SIDE_PX, Limits, Picture, fitted_size
from nst_core.images.sniffing import Format, sniff

# Pillow's classes are called directly, not through Image.open: its decompression-bomb check is a process-wide
# setting that warns at one size and raises at another, and `decode` has a limit of its own.
_READERS: dict[Format, type[ImageFile]] = {
    Format.JPEG: JpegImageFile,
    Format.PNG: PngImageFile,
    Format.WEBP: WebPImageFile,
    Format.TIFF: TiffImageFile,
    Format.GIF: GifImageFile,
    Format.BMP: BmpImageFile,
}
#: Memory that decoding takes for each pixel of the file: the samples, and copies of them in other modes.
_BYTES_PER_PIXEL = 16
# Everything that Pillow's readers raise on hostile bytes; a fuzz test holds the list to that.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
# The turn that makes an image upright, by the value of EXIF's orientation tag; 1 needs none.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    data: bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    min_side_px: int = DEFAULT_MIN_SIDE_PX,
    max_px: int | None = None,
    max_result_pixels: int | None = None,
    on_size: Callable[[int], object] = lambda _: None,
) -> Picture:
    """Return the image of a file's bytes, reduced if its longer side is above `max_px`.

    EXIF orientation is applied and a colour profile converted to sRGB; a broken one of either is ignored. Once the
    header is read and before any pixel is, `on_size` is called with about how many bytes of memory the rest takes.

    Raises ImageDecodeError for what is empty, damaged or no image, ImageFormatError for another format or for 32-bit
    samples, ImageTooLargeError for more than `max_pixels` in the header or more than `max_result_pixels` after
    reducing, and ImageTooSmallError if the shorter side, before or after reducing, is under `min_side_px`. Pillow
    itself reads no TIFF, GIF or WebP above 178,956,970 pixels, whatever `max_pixels` says.
    """
    limits = Limits(max_pixels=max_pixels, min_side_px=min_side_px, max_px=max_px, max_result_pixels=max_result_pixels)
    kind = sniff(data)
    try:
        if kind is Format.WEBP:
            # libwebp allocates the whole canvas on opening.
            limits.target(_webp_size(data))
        image = _READERS[kind](BytesIO(data))
        target = limits.target(image.size)
        on_size(image.size[0] * image.size[1] * _BYTES_PER_PIXEL)
        # JPEG alone can decode at 1/2, 1/4 or 1/8; half of the reduction at least is left to the better filter.
        image.draft(None, (2 * target[0], 2 * target[1]))
        image.load()
        turn = _turn(image)
        icc = image.info.get("icc_profile")
        colour, alpha = _split(image)
        flat = _flatten(_to_srgb(colour, icc), alpha)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError("The image has more pixels than can be read.") from error
    except _DAMAGE as error:
        raise ImageDecodeError("The image is truncated or damaged.") from error
    rgb = _finish(flat, turn, max_px)
    return Picture(rgb=rgb, alpha=None if alpha is None else _finish(alpha, turn, max_px))


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height from the first chunk of a WebP file (RFC 9649); raise ValueError where it is damaged."""
    kind, bits = data[12:16], data[20:30]
    if kind == b"VP8X" and len(bits) == 10:
        return 1 + int.from_bytes(bits[4:7], "little"), 1 + int.from_bytes(bits[7:10], "little")
    if kind == b"VP8L" and len(bits) >= 5 and bits[0] == 0x2F:
        packed = int.from_bytes(bits[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(bits) == 10 and bits[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(bits[6:8], "little") & 0x3FFF, int.from_bytes(bits[8:10], "little") & 0x3FFF
    raise ValueError("no WebP header")


def _turn(image: ImageFile) -> Image.Transpose | None:
    # Pillow turns TIFF files itself on loading, and then has no orientation left.
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return None


def _split(image: ImageFile) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as an 8-bit L, RGB or CMYK image, and the opacity as an L image, None if fully opaque."""
    if image.mode.startswith("I;16"):
        return _split_grey16(image)
    if image.mode in ("I", "F", "LAB"):
        raise ImageFormatError(f"The image has samples of the kind {image.mode}; supported are 8 and 16 bits a sample.")
    if not image.has_transparency_data:
        return (
            image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")
        ), None
    full = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
    colour = full.getchannel("L") if full.mode == "LA" else full.convert("RGB")
    return colour, _unless_opaque(full.getchannel("A"))


def _split_grey16(image: ImageFile) -> tuple[Image.Image, Image.Image | None]:
    # Pillow's own conversion to 8 bits clips at 255 instead of scaling.
    samples = np.asarray(image)
    tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    top = 4095 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 65535
    grey = ((np.minimum(samples, top).astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # 0 is white
        grey = 255 - grey
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else np.where(samples == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(grey), None if alpha is None else _unless_opaque(Image.fromarray(alpha))


def _unless_opaque(alpha: Image.Image) -> Image.Image | None:
    return None if alpha.getextrema() == (255, 255) else alpha


def _to_srgb(colour: Image.Image, icc: Any) -> Image.Image:
    """Convert from a colour profile's space to sRGB; without one, or with a broken one, take grey and RGB as sRGB."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            converted = ImageCms.profileToProfile(colour, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass  # such as a profile for another number of channels
    return colour.convert("RGB")


def _flatten(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _finish(image: Image.Image, turn: Image.Transpose | None, max_px: int | None) -> npt.NDArray[np.uint8]:
    """Reduce an image, make it upright and return it as a writable array."""
    target = fitted_size(image.size, max_px)
    if target != image.size:
        # A gap of 3 is as good as no gap to the eye, and several times faster for large reductions.
        image = image.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if turn is not None:
        image = image.transpose(turn)
    return np.array(image)
