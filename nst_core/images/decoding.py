"""From image files to pictures.

The first bytes tell the format, and only the reader of that format runs, so that no other parser sees hostile bytes.
The size in the header is checked before any pixel is decoded.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from nst_core.errors import ImageDecodeError, ImageTooLargeError
from nst_core.formats import Format
from nst_core.images.colours import filled, resized, to_srgb
from nst_core.images.jpeg import open_jpeg
from nst_core.images.picture import DEFAULT_LIMITS, Limits, Picture
from nst_core.images.png import open_png
from nst_core.images.simple import open_avif, open_bmp, open_gif, open_heic, open_webp
from nst_core.images.sniffing import sniff
from nst_core.images.source import DAMAGE, Loaded, Source
from nst_core.images.tiff import open_tiff

#: Bytes that decoding takes per pixel of the file: the samples, and copies of them in other modes. Measured at
#: 50 megapixels: 11 for JPEG, up to 26 with opacity. `Source.more_bytes` are those beyond it.
_BYTES_PER_PIXEL = 32
#: Copies of the file that readers make: those of PNG leave out some chunks, those of JPEG end otherwise.
_COPIES = 2
_OPENERS: dict[Format, Callable[[bytes, Limits], Source]] = {
    Format.JPEG: lambda data, _: open_jpeg(data),
    Format.PNG: lambda data, _: open_png(data),
    Format.WEBP: open_webp,
    Format.TIFF: open_tiff,
    Format.GIF: lambda data, _: open_gif(data),
    Format.BMP: lambda data, _: open_bmp(data),
    Format.AVIF: lambda data, _: open_avif(data),
    Format.HEIC: lambda data, _: open_heic(data),
}


def decode(
    data: bytes, limits: Limits = DEFAULT_LIMITS, *, on_size: Callable[[int, int], object] = lambda *_: None
) -> Picture:
    """Return the image in a file's bytes, reduced to `max_px` or `shorter_px` of the limits.

    The EXIF orientation is applied and a colour profile is converted to sRGB; if one of them is broken, it is ignored.
    After the header and before any pixel is read, `on_size` is called with an estimate of the memory that decoding
    takes, in bytes, and with the number of pixels of the result.

    Raises ImageDecodeError if it is empty, damaged or no image, ImageFormatError for another format or for samples
    without an agreed range, ImageTooLargeError for more than `max_pixels` in the header or more than
    `max_result_pixels` after reducing, and ImageTooSmallError if the shorter side, before or after reducing, is under
    `min_side_px`. Pillow itself reads no TIFF, GIF or WebP above 178,956,970 pixels, whatever `max_pixels` says.
    """
    kind = sniff(data)
    try:
        source = _OPENERS[kind](data, limits)
        target = limits.target(source.size)
        needed = source.size[0] * source.size[1] * _BYTES_PER_PIXEL + _COPIES * len(data) + source.more_bytes
        on_size(needed, target[0] * target[1])
        loaded = source.load(target)
        if loaded.colour.size == source.size[::-1]:  # the reader has turned it
            target = target[::-1]
        return _finished(loaded, target, _warning(source, loaded), ignore_alpha=limits.ignore_alpha)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError("The image has more pixels than can be read.") from error
    except DAMAGE as error:
        raise ImageDecodeError("The image is truncated or damaged.") from error


def _finished(loaded: Loaded, size: tuple[int, int], warning: str | None, *, ignore_alpha: bool) -> Picture:
    """Return pixels as a picture: in sRGB, of a size, upright, and with colours under transparent pixels.

    The size is that before the picture is upright. It cannot be found from the pixels, which a reader may have reduced.
    """
    colour = to_srgb(loaded.colour, loaded.icc)
    rgb, alpha = resized(colour, None if ignore_alpha else loaded.alpha, size)
    if alpha is not None:
        rgb = filled(rgb, alpha)
    if loaded.turn is not None:
        rgb = rgb.transpose(loaded.turn)
        alpha = None if alpha is None else alpha.transpose(loaded.turn)
    return Picture(rgb=np.array(rgb), alpha=None if alpha is None else np.array(alpha), warning=warning)


def _warning(source: Source, loaded: Loaded) -> str | None:
    said = [loaded.warning] if loaded.warning else []
    if source.frames > 1:
        said.append(f"Only the first of the file's {source.frames:,} {source.frame}s is used.")
    return " ".join(said) or None
