"""Kinds of image files: the suffixes that photos have, and what the first bytes of a file say."""

#: Suffixes of files that hold a JPEG.
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"})
#: Suffixes of files and objects that are taken for photos.
IMAGE_SUFFIXES = JPEG_SUFFIXES | {
    *(".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".heic", ".heif", ".avif"),
}
#: How many bytes of a file `suffix_of` needs.
HEAD_BYTES = 64
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"II\x2a\0", ".tif"),
    (b"MM\0\x2a", ".tif"),
    (b"II\x2b\0", ".tif"),
    (b"MM\0\x2b", ".tif"),
)
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def suffix_of(head: bytes) -> str | None:
    """Return the suffix for a file whose first bytes are `head`, or None if they are not those of a photo."""
    for magic, suffix in _MAGIC:
        if head.startswith(magic):
            return suffix
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    # BMP has a magic of two letters only; its four reserved bytes are zero in every file.
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return ".bmp"
    if head[4:8] == b"ftyp":
        brands = {head[start : start + 4] for start in (8, *range(16, min(len(head), _box_bytes(head)), 4))}
        return ".avif" if brands & _AVIF else ".heic" if brands & _HEIC else None
    return None


def _box_bytes(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")
