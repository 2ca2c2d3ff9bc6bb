"""Formats of image files, told by their first bytes.

Fixed bytes are compared, and no regular expression is used: `re` may take exponential time on bytes that a stranger
wrote, and holds the GIL while it does.
"""

from enum import StrEnum

from nst_core.errors import ImageDecodeError, ImageFormatError


class Format(StrEnum):
    """A format that is read."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    TIFF = "TIFF"
    BMP = "BMP"
    GIF = "GIF"
    AVIF = "AVIF"
    HEIC = "HEIC"


_SUPPORTED = ", ".join(list(Format)[:-1]) + f" and {list(Format)[-1]}"
# Offset and first bytes.
_MAGIC: tuple[tuple[int, tuple[bytes, ...], Format], ...] = (
    (0, (b"\xff\xd8\xff",), Format.JPEG),
    (0, (b"\x89PNG\r\n\x1a\n",), Format.PNG),
    (0, (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"), Format.TIFF),
    (0, (b"GIF87a", b"GIF89a"), Format.GIF),
    (0, (b"BM",), Format.BMP),
)
# Only to say what it is; nothing parses these. Offset, first bytes, name.
_FOREIGN: tuple[tuple[int, tuple[bytes, ...], str], ...] = (
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


def sniff(data: bytes) -> Format:
    """Return the format of a file; raise ImageDecodeError if it is no image, ImageFormatError if it is not read."""
    if not data:
        raise ImageDecodeError("The image is empty.")
    if data.startswith(b"RIFF") and data.startswith(b"WEBP", 8):
        return Format.WEBP
    if (box := _heif(data)) is not None:
        return box
    for offset, magics, kind in _MAGIC:
        if data.startswith(magics, offset):
            return kind
    if (name := _foreign(data)) is not None:
        raise ImageFormatError(f"The image is {name}; supported are {_SUPPORTED}.")
    raise ImageDecodeError("The data is not an image.")


def _heif(data: bytes) -> Format | None:
    """Return which format of the HEIF family a file has, by the brands in its first box; None for none."""
    if not data.startswith(b"ftyp", 4):
        return None
    end = min(int.from_bytes(data[:4]), 4096)
    # The major brand first, then those that the file is compatible with; between them is a version.
    brands = {data[at : at + 4] for at in (8, *range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return Format.AVIF
    return Format.HEIC if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"} else None


def _foreign(data: bytes) -> str | None:
    """Return the name of a known format that is not read, or None."""
    for offset, magics, name in _FOREIGN:
        if data.startswith(magics, offset):
            return name
    head = data[:_SVG_HEAD].lstrip()
    return "SVG" if head.startswith(_SVG_PROLOGUES) and b"<svg" in head else None
