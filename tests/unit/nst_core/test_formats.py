"""Detection of file formats by the first bytes."""

import io

import pytest
from PIL import Image

from nst_core.formats import HEAD_BYTES, IMAGE_SUFFIXES, MEDIA_TYPES, RESULT_TYPES, Format, format_of, suffix_of


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"), ("GIF", ".gif"), ("BMP", ".bmp")],
)
def test_a_picture_is_recognised_by_its_first_bytes(format: str, suffix: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, format)
    assert suffix_of(file.getvalue()[:HEAD_BYTES]) == suffix
    assert suffix in IMAGE_SUFFIXES


@pytest.mark.parametrize(
    ("brands", "suffix"),
    [
        (b"heic\0\0\0\0mif1heic", ".heic"),
        (b"mif1\0\0\0\0mif1heic", ".heic"),
        (b"avif\0\0\0\0avifmif1", ".avif"),
        (b"mif1\0\0\0\0mif1avif", ".avif"),
        (b"qt  \0\0\0\0qt  ", None),
        (b"isom\0\0\0\0isomiso2", None),
    ],
)
def test_an_iso_media_file_is_a_photo_or_a_video_by_its_brands(brands: bytes, suffix: str | None) -> None:
    box = (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands
    assert suffix_of(box + b"\0\0\0\x08avif") == suffix


@pytest.mark.parametrize("head", [b"", b"\xff", b"BMW is a car", b"%PDF-1.7", b"RIFF....WAVE", b"ftyp", b"<svg"])
def test_other_files_are_not_photos(head: bytes) -> None:
    assert suffix_of(head) is None


def test_every_format_has_suffixes_and_a_media_type() -> None:
    assert MEDIA_TYPES[".jpg"] == MEDIA_TYPES[".jfif"] == "image/jpeg"
    assert set(MEDIA_TYPES) == IMAGE_SUFFIXES
    assert set(MEDIA_TYPES.values()) == {f"image/{kind.lower()}" for kind in Format}
    assert all(MEDIA_TYPES[f".{suffix}"] == media_type for suffix, media_type in RESULT_TYPES.items())


def test_format_is_detected_by_the_first_bytes() -> None:
    assert format_of(b"\xff\xd8\xff\xe0") is Format.JPEG
    assert format_of(b"MM\0\x2b") is Format.TIFF
    assert format_of(b"text") is None
