"""Tests of nst_core.images.sniffing."""

import subprocess
import sys

import pytest
from PIL import Image

from nst_core.errors import (
    ImageDecodeError,
    ImageFormatError,
)
from nst_core.images import decode
from tests.unit.nst_core.images.picture_files import (
    saved,
    smooth,
)


def test_empty_bytes_are_reported_as_empty() -> None:
    with pytest.raises(ImageDecodeError, match="empty"):
        decode(b"")


@pytest.mark.parametrize("data", [b"\0", b"hello", b"<html></html>", b"\xff\xd8", bytes(1000), b"GIF8"])
def test_a_file_that_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageDecodeError, match="not an image"):
        decode(data)


@pytest.mark.parametrize("piece", [b"<!---->", b"<?xml?>", b"<!DOCTYPE svg>", b" ", b"<?xml<!--"])
def test_many_repeats_of_what_begins_an_svg_are_refused_at_once(piece: bytes) -> None:
    # In a separate process, because a backtracking regular expression could not be interrupted in this one.
    code = f"from nst_core.images import decode\ntry: decode({piece!r} * 100 + b'x')\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "The data is not an image.\n"


@pytest.mark.parametrize("kind", ["ICO", "JPEG2000", "PPM", "PDF"])
def test_formats_that_are_not_supported_are_named(kind: str) -> None:
    with pytest.raises(ImageFormatError, match="supported are JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and HEIC"):
        decode(saved(Image.fromarray(smooth()), kind))


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>',
        b"<!-- a --><!-- b --><!DOCTYPE svg><svg/>",
        b"8BPS\0\1",
        b"\xff\x0a\0\0",
    ],
)
def test_other_known_formats_are_named_from_their_first_bytes(data: bytes) -> None:
    with pytest.raises(ImageFormatError):
        decode(data)
