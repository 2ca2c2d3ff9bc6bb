"""Image files as arrays and back. Whatever a client uploads becomes upright 8-bit sRGB, or an ImageError.

`decode` reads hostile bytes in the calling process. A process that serves several clients calls
`nst_core.decoding.decoder.decode` instead, which does the same in a child process that may crash.
"""

from nst_core.images.decoding import decode
from nst_core.images.encoding import content_type, encode, longest_side_px
from nst_core.images.picture import DEFAULT_MIN_SIDE_PX, MAX_PHOTO_PIXELS, Limits, Picture, fitted_size

__all__ = [
    "DEFAULT_MIN_SIDE_PX",
    "MAX_PHOTO_PIXELS",
    "Limits",
    "Picture",
    "content_type",
    "decode",
    "encode",
    "fitted_size",
    "longest_side_px",
]
