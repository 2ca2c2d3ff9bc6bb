"""What the readers of all formats return, and helpers for readers that use Pillow."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from nst_core.errors import ImageFormatError

#: Everything that Pillow's readers raise on hostile bytes; a fuzz test checks the list.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
# The transposition that makes an image upright, by EXIF orientation; 1 needs none.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# How Pillow's messages begin for intact files of a kind that it does not read.
_UNSUPPORTED = ("unsupported", "unknown pixel mode", "unknown data organization", "cannot handle")


@dataclass(kw_only=True)
class Loaded:
    """The pixels of a file, not yet upright and still in the colours of its profile."""

    #: An image of mode L, RGB or CMYK, 8 bits per sample.
    colour: Image.Image
    #: An image of mode L; None if every pixel is opaque.
    alpha: Image.Image | None = None
    icc: bytes | None = None
    turn: Image.Transpose | None = None
    #: One sentence for the owner of the image.
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of which only the header was read."""

    #: Width and height, in pixels.
    size: tuple[int, int]
    #: Decodes the pixels. A reader may reduce them, but not below twice the given (width, height).
    load: Callable[[tuple[int, int]], Loaded]
    #: The number of pictures in the file; the first one is read.
    frames: int = 1
    #: What one of them is called in messages.
    frame: str = field(default="frame")
    #: Memory that `load` takes in addition to that of every picture of the size.
    more_bytes: int = 0


def opened(reader: type[ImageFile], stream: object) -> ImageFile:
    """Open a file with one of Pillow's readers; raise ImageFormatError for a kind of file that it does not support.

    Pillow's classes are called directly, not through Image.open: its decompression-bomb check is a process-wide
    setting that warns at one size and raises at another, and `decode` has a limit of its own.
    """
    try:
        image = reader(stream)  # type: ignore[arg-type]
    except DAMAGE as error:
        if str(error).lower().startswith(_UNSUPPORTED):
            raise ImageFormatError(f"The image is a kind of {reader.format} that nst does not support.") from error
        raise
    # Pillow would apply an orientation from XMP, which viewers ignore.
    image.info.pop("xmp", None)
    image.info.pop("XML:com.adobe.xmp", None)
    return image


def turn_of(orientation: object) -> Image.Transpose | None:
    """Return the transposition that makes an image upright, by EXIF orientation; None for an invalid value."""
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def loaded(image: ImageFile) -> Loaded:
    """Decode an image that Pillow opened."""
    image.load()
    colour, alpha = split(image)
    return Loaded(colour=colour, alpha=alpha, icc=image.info.get("icc_profile"), turn=image_turn(image))


def image_turn(image: ImageFile) -> Image.Transpose | None:
    """Return the transposition for an image's EXIF orientation, after it was loaded."""
    # Pillow transposes TIFF files itself on loading, and then reports no orientation.
    try:
        return turn_of(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGE:
        return None


def split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as an 8-bit L, RGB or CMYK image, and the opacity as an L image, None if fully opaque."""
    if image.mode in ("I", "F", "LAB"):
        raise ImageFormatError(f"The image has samples of the kind {image.mode}; supported are 8 and 16 bits a sample.")
    if not image.has_transparency_data:
        if image.mode in ("L", "RGB", "CMYK"):
            return image, None
        return image.convert("L" if image.mode == "1" else "RGB"), None
    full = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
    colour = full.getchannel("L") if full.mode == "LA" else full.convert("RGB")
    return colour, unless_opaque(full.getchannel("A"))


def unless_opaque(alpha: Image.Image) -> Image.Image | None:
    """Return an opacity, or None if all of it is 255."""
    return None if alpha.getextrema() == (255, 255) else alpha


def to_8_bit(samples: npt.NDArray[np.unsignedinteger], top: int = 65535) -> npt.NDArray[np.uint8]:
    """Scale samples from 0 to `top` (at most 65,535) to 0 to 255, rounded."""
    table = ((np.arange(65536, dtype=np.uint32).clip(max=top) * 255 + top // 2) // top).astype(np.uint8)
    scaled: npt.NDArray[np.uint8] = table[samples]
    return scaled
