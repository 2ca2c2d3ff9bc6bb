"""Image files as arrays and back: whatever a client uploads becomes upright 8-bit sRGB, or an ImageError.

Six formats are read: JPEG, PNG, WebP, TIFF, BMP and GIF (first frame or page). The format is known by its first
bytes and only that format's reader of Pillow is run, so no other parser ever sees hostile bytes. The size in the
header is checked before any pixel is decoded.
"""

import struct
import zlib
from dataclasses import dataclass
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

from nst_core.errors import ConfigError, ImageDecodeError, ImageFormatError, ImageTooLargeError, ImageTooSmallError

#: The most pixels that an image may have; 50 megapixels are 150 MB as RGB.
DEFAULT_MAX_PIXELS = 50_000_000
#: What the networks need: the same as `transformer.MIN_SIDE_PX`, which a light module cannot import.
DEFAULT_MIN_SIDE_PX = 16

# Pillow's classes are called directly, not through Image.open: its decompression-bomb check is a process-wide
# setting that warns at one size and raises at another, and `decode` has a limit of its own.
_READERS: tuple[tuple[int, tuple[bytes, ...], type[ImageFile]], ...] = (
    (0, (b"\xff\xd8\xff",), JpegImageFile),
    (0, (b"\x89PNG\r\n\x1a\n",), PngImageFile),
    (8, (b"WEBP",), WebPImageFile),
    (0, (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"), TiffImageFile),
    (0, (b"GIF87a", b"GIF89a"), GifImageFile),
    (0, (b"BM",), BmpImageFile),
)
# Only to say what it is; nothing parses these. Offset, first bytes, name.
_FOREIGN: tuple[tuple[int, tuple[bytes, ...], str], ...] = (
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    (0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), "JPEG XL"),
    (0, (b"8BPS",), "Photoshop"),
    (0, (b"\0\0\1\0", b"\0\0\2\0"), "ICO"),
    (0, (b"%PDF",), "PDF"),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript"),
    (0, (b"\x76\x2f\x31\x01",), "OpenEXR"),
    (0, (b"#?RADIANCE",), "Radiance"),
    (0, tuple(b"P%d%c" % (kind, space) for kind in range(1, 8) for space in b" \t\r\n"), "PNM"),
)
#: How a file may begin that has its <svg> tag further on.
_SVG_PROLOGUES = (b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")
#: Bytes in which the <svg> tag is looked for.
_SVG_HEAD = 1000
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
_CONTENT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_MAX_ENCODED_SIDE_PX = {"image/jpeg": 65_500, "image/png": 2**31 - 1, "image/webp": 16_383}


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded image."""

    #: H x W x 3, sRGB, upright, already blended with white where it is transparent.
    rgb: npt.NDArray[np.uint8]
    #: H x W opacity, or None where every pixel is opaque.
    alpha: npt.NDArray[np.uint8] | None = None


def decode(
    data: bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    min_side_px: int = DEFAULT_MIN_SIDE_PX,
    max_px: int | None = None,
) -> Picture:
    """Return the image of a file's bytes, reduced where its longer side is above `max_px`.

    EXIF orientation is applied and a colour profile converted to sRGB; a broken one of either is ignored. Raises
    ImageDecodeError for what is empty, damaged or no image, ImageFormatError for another format or for 32-bit
    samples, ImageTooLargeError for more than `max_pixels` in the header, and ImageTooSmallError where the shorter
    side, before or after reducing, is under `min_side_px`. Pillow itself reads no TIFF, GIF or WebP above
    178,956,970 pixels, whatever `max_pixels` says.
    """
    reader = _sniff(data)
    try:
        if reader is WebPImageFile:
            # libwebp allocates the whole canvas on opening.
            _check_size(_webp_size(data), max_pixels, min_side_px)
        image = reader(BytesIO(data))
        _check_size(image.size, max_pixels, min_side_px)
        target = fitted_size(image.size, max_px)
        _check_size(target, max_pixels, min_side_px)
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


def encode(picture: Picture, suffix: str, *, quality: int = 92) -> bytes:
    """Return a picture as a file of the kind `suffix` names (jpg, jpeg, png, webp), without metadata.

    The same picture gives the same bytes. `quality` is that of JPEG and lossy WebP, 1 to 100; PNG is exact. JPEG
    drops the opacity. Raises ConfigError for another suffix or quality, ImageTooLargeError where a side is longer
    than the format allows.
    """
    kind = content_type(suffix)
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be from 1 to 100, not {quality!r}.")
    height, width = picture.rgb.shape[:2]
    if max(height, width) > _MAX_ENCODED_SIDE_PX[kind]:
        raise ImageTooLargeError(
            f"The image is {width:,} x {height:,} pixels; a side of {kind} may have {_MAX_ENCODED_SIDE_PX[kind]:,}."
        )
    image = Image.fromarray(picture.rgb)
    out = BytesIO()
    if kind == "image/jpeg":
        # 4:4:4 from 90 up: halved chroma shows on a painting's saturated edges.
        image.save(out, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
        return out.getvalue()
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if kind == "image/png":
        # Runs only, after PNG's own filters: on photos as small as level 6 within 2 %, in a fifth of its time.
        image.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    else:
        image.save(out, "WEBP", quality=quality, method=2)
    return out.getvalue()


def content_type(suffix: str) -> str:
    """Return the media type of files with a suffix (with or without its dot); raise ConfigError for another one."""
    try:
        return _CONTENT_TYPES[suffix.lower().removeprefix(".")]
    except KeyError:
        raise ConfigError(f"Results can be {', '.join(_CONTENT_TYPES)}, not {suffix!r}.") from None


def fitted_size(size: tuple[int, int], max_px: int | None) -> tuple[int, int]:
    """Return (width, height) scaled down so that the longer is at most `max_px`; raise ConfigError where it is < 1."""
    if max_px is not None and max_px < 1:
        raise ConfigError(f"max_px must be at least 1, not {max_px!r}.")
    if max_px is None or max(size) <= max_px:
        return size
    scale = max_px / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _sniff(data: bytes) -> type[ImageFile]:
    if not data:
        raise ImageDecodeError("The image is empty.")
    for offset, magics, reader in _READERS:
        if data.startswith(magics, offset) and (reader is not WebPImageFile or data.startswith(b"RIFF")):
            return reader
    if (name := _foreign(data)) is not None:
        raise ImageFormatError(f"The image is {name}; supported are JPEG, PNG, WebP, TIFF, BMP and GIF.")
    raise ImageDecodeError("The data is not an image.")


def _foreign(data: bytes) -> str | None:
    """Return the name of a known format that is not read, or None.

    Fixed bytes are compared, and no regular expression is used: `re` may take exponential time on bytes that a
    stranger wrote, and holds the GIL while it does.
    """
    for offset, magics, name in _FOREIGN:
        if data.startswith(magics, offset):
            return name
    head = data[:_SVG_HEAD].lstrip()
    return "SVG" if head.startswith(_SVG_PROLOGUES) and b"<svg" in head else None


def _check_size(size: tuple[int, int], max_pixels: int, min_side_px: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"The image is {width:,} x {height:,} pixels; the limit is {max_pixels:,} in all.")
    if min(size) < min_side_px:
        raise ImageTooSmallError(f"The image is {width:,} x {height:,} pixels; each side must have {min_side_px}.")


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
