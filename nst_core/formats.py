"""Formats of image files: their suffixes, media types and first bytes. Never loads an image library.

Fixed bytes are compared and no regular expression is used: `re` may take exponential time on hostile bytes, and holds
the GIL meanwhile.
"""

from enum import StrEnum


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


#: The suffixes of each format's files. The first one is the usual one.
_SUFFIXES: dict[Format, tuple[str, ...]] = {
    Format.JPEG: (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
    Format.PNG: (".png",),
    Format.WEBP: (".webp",),
    Format.TIFF: (".tif", ".tiff"),
    Format.BMP: (".bmp",),
    Format.GIF: (".gif",),
    Format.AVIF: (".avif",),
    Format.HEIC: (".heic", ".heif"),
}
#: Suffixes of JPEG files.
JPEG_SUFFIXES = frozenset(_SUFFIXES[Format.JPEG])
#: Media types of images by suffix.
MEDIA_TYPES = {suffix: f"image/{kind.lower()}" for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}
#: Suffixes of files and objects that are taken for photos.
IMAGE_SUFFIXES = frozenset(MEDIA_TYPES)
#: The media type of results by their suffix, without its dot. These formats are written.
RESULT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
#: How many of a file's first bytes `format_of` needs.
HEAD_BYTES = 64
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II\x2a\0", Format.TIFF),
    (b"MM\0\x2a", Format.TIFF),
    (b"II\x2b\0", Format.TIFF),
    (b"MM\0\x2b", Format.TIFF),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def format_of(head: bytes) -> Format | None:
    """Return the format of a file whose first bytes are `head`, or None if they are not those of an image."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    # The magic of BMP is two letters, which a text may begin with; the four reserved bytes should be zero.
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return Format.BMP
    if head[4:8] == b"ftyp":
        box_bytes = int.from_bytes(head[:4])
        # The major brand first, then those that the file is compatible with; between them is a version.
        brands = {head[at : at + 4] for at in (8, *range(16, min(len(head), box_bytes), 4))}
        return Format.AVIF if brands & _AVIF_BRANDS else Format.HEIC if brands & _HEIC_BRANDS else None
    return None


def suffix_of(head: bytes) -> str | None:
    """Return the usual suffix for a file whose first bytes are `head`, or None if they are not those of an image."""
    kind = format_of(head)
    return None if kind is None else _SUFFIXES[kind][0]
