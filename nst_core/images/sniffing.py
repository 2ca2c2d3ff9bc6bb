"""The format of an image file by its first bytes, or an error that says what else the file is."""

from nst_core.errors import ImageDecodeError, ImageFormatError
from nst_core.formats import Format, format_of

_SUPPORTED = ", ".join(list(Format)[:-1]) + f" and {list(Format)[-1]}"
#: Bytes in which the brands of a HEIF file are searched.
_HEAD_BYTES = 4096
# First bytes of formats that are not read, and their names for the error message. Nothing parses these files.
_FOREIGN: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    ((b"\0\0\0\x0cJXL ", b"\xff\x0a"), "JPEG XL"),
    ((b"8BPS",), "Photoshop"),
    ((b"\0\0\1\0", b"\0\0\2\0"), "ICO"),
    ((b"%PDF",), "PDF"),
    ((b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript"),
    ((b"\x76\x2f\x31\x01",), "OpenEXR"),
    ((b"#?RADIANCE",), "Radiance"),
    (tuple(b"P%d%c" % (kind, space) for kind in range(1, 8) for space in b" \t\r\n"), "PNM"),
)
#: How a file may begin whose <svg> tag comes later.
_SVG_PROLOGUES = (b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")
#: Bytes in which the <svg> tag is searched.
_SVG_HEAD = 1000


def sniff(data: bytes) -> Format:
    """Return the format of a file.

    Raises ImageDecodeError if it is no image, and ImageFormatError if it is an image of a format that is not read.
    """
    if not data:
        raise ImageDecodeError("The image is empty.")
    if (kind := format_of(data[:_HEAD_BYTES])) is not None:
        return kind
    if data.startswith(b"BM"):  # some programs write their name into the reserved bytes
        return Format.BMP
    if (name := _foreign(data)) is not None:
        raise ImageFormatError(f"The image is {name}; supported are {_SUPPORTED}.")
    raise ImageDecodeError("The data is not an image.")


def _foreign(data: bytes) -> str | None:
    """Return the name of a known format that is not read, or None."""
    for magics, name in _FOREIGN:
        if data.startswith(magics):
            return name
    head = data[:_SVG_HEAD].lstrip()
    return "SVG" if head.startswith(_SVG_PROLOGUES) and b"<svg" in head else None
