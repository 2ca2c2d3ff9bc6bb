"""Photos for tests: small crops of the free pictures in scikit-image, and files that are not usable photos."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image
from skimage import data


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Yield names and pictures: a person, a cup, a cat, each free to use."""
    for name in ("astronaut", "coffee", "chelsea"):
        yield name, Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")


def encoded(image: Image.Image, format: str) -> bytes:
    """Return a picture's bytes in a format."""
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def small_photos(count: int, *, side_px: int = 96) -> dict[str, bytes]:
    """Return `count` different crops by file name, alternately JPEG and PNG, with odd and even sizes."""
    sources = list(pictures())
    photos = {}
    for number in range(count):
        name, source = sources[number % len(sources)]
        width, height = side_px + 7 * (number % 5), side_px + 5 * (number % 3)
        left, top = 11 * number % (source.width - width), 7 * number % (source.height - height)
        crop = source.crop((left, top, left + width, top + height))
        format, suffix = (("JPEG", "jpg"), ("PNG", "png"))[number % 2]
        photos[f"{name}_{number:03d}.{suffix}"] = encoded(crop, format)
    return photos


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and contains almost nothing."""

    def piece(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", header) + piece(b"IDAT", zlib.compress(b"\0")) + piece(b"IEND", b"")


def bad_files() -> dict[str, bytes]:
    """Return five files that are not usable photos, by name."""
    whole = encoded(next(pictures())[1], "JPEG")
    return {
        "truncated.jpg": whole[: len(whole) // 2],
        "tiny.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "text.jpg": b"This is no picture.\n" * 20,
        "empty.jpg": b"",
        "huge.png": png_header(40_000, 40_000),
    }


#: The error code of each bad file. `missing.jpg` is never uploaded.
BAD_CODES = {
    "truncated.jpg": "image_undecodable",
    "tiny.png": "image_too_small",
    "text.jpg": "image_undecodable",
    "empty.jpg": "image_undecodable",
    "huge.png": "image_too_large",
    "missing.jpg": "blob_not_found",
}
