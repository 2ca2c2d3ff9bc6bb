"""From pictures to image files."""

from io import BytesIO

import numpy as np
from PIL import Image

from nst_core.errors import ConfigError, ImageTooLargeError
from nst_core.formats import RESULT_TYPES
from nst_core.images.colours import on_white
from nst_core.images.picture import Picture
from nst_core.images.png_encoding import encode_png

_MAX_SIDE_PX = {"image/jpeg": 65_500, "image/png": 2**31 - 1, "image/webp": 16_383}


def encode(picture: Picture, suffix: str, *, quality: int = 92) -> bytes:
    """Return a picture as a file of the format that `suffix` names (jpg, jpeg, png, webp), without metadata.

    The same picture gives the same bytes. `quality`, 1 to 100, applies to JPEG and lossy WebP; PNG is exact. JPEG
    has no opacity, so the picture gets a white background. Raises ConfigError for another suffix or quality, and
    ImageTooLargeError if a side is longer than the format allows.
    """
    kind = content_type(suffix)
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be from 1 to 100, not {quality!r}.")
    height, width = picture.rgb.shape[:2]
    if max(height, width) > _MAX_SIDE_PX[kind]:
        raise ImageTooLargeError(
            f"The image is {width:,} x {height:,} pixels; a side of {kind} may have at most {_MAX_SIDE_PX[kind]:,}."
        )
    if kind == "image/png":
        return encode_png(picture.rgb if picture.alpha is None else np.dstack((picture.rgb, picture.alpha)))
    image, out = Image.fromarray(picture.rgb), BytesIO()
    if kind == "image/webp":
        if picture.alpha is not None:
            image.putalpha(Image.fromarray(picture.alpha))
        image.save(out, "WEBP", quality=quality, method=2)
        return out.getvalue()
    if picture.alpha is not None:
        image = on_white(picture.rgb, picture.alpha)
    # 4:4:4 from 90 up: halved chroma shows on a painting's saturated edges.
    image.save(out, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
    return out.getvalue()


def longest_side_px(suffix: str) -> int:
    """Return how long a side of the format that `suffix` names may be; raise ConfigError for another suffix."""
    return _MAX_SIDE_PX[content_type(suffix)]


def content_type(suffix: str) -> str:
    """Return the media type of files with a suffix (with or without its dot); raise ConfigError for others."""
    try:
        return RESULT_TYPES[suffix.lower().removeprefix(".")]
    except KeyError:
        raise ConfigError(f"Results can be {', '.join(RESULT_TYPES)}, not {suffix!r}.") from None
