"""Writes PNG files, several times faster than Pillow: with one filter for all rows, and ISA-L's compressor.

Pillow tries five filters for each row, which takes as long as the compression. For photos and paintings the average of
the pixels to the left and above comes within a few percent of the best choice.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

#: Bytes of rows that are filtered at a time; that much stays in a processor's cache.
_BLOCK_BYTES = 1 << 18
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: The type of a row's filter: each sample less the mean of the same sample to the left and above, rounded down.
_AVERAGE = 3
_RGB, _RGBA = 2, 6


def encode_png(samples: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG file of RGB or RGBA samples, H x W x 3 or H x W x 4."""
    height, width, channels = samples.shape
    colour_type = _RGB if channels == 3 else _RGBA
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_data(samples), *_chunk(b"IEND", b"")))


def _data(samples: npt.NDArray[np.uint8]) -> Iterator[bytes]:
    from isal import isal_zlib  # late, because programs that only read pictures work without it

    compressor = isal_zlib.compressobj(level=1, wbits=zlib.MAX_WBITS)
    for block in _filtered(samples):
        if compressed := compressor.compress(block):
            yield from _chunk(b"IDAT", compressed)
    yield from _chunk(b"IDAT", compressor.flush())


def _filtered(samples: npt.NDArray[np.uint8]) -> Iterator[memoryview]:
    """Yield rows as PNG compresses them, some at a time. Each block is valid until the next one."""
    height, width, channels = samples.shape
    rows = samples.reshape(height, width * channels)
    count = max(1, _BLOCK_BYTES // rows.shape[1])
    # Row 0 is the one above the block; the pixel to the left of a row is 0.
    padded = np.zeros((count + 1, channels + rows.shape[1]), np.uint8)
    filtered = np.full((count, 1 + rows.shape[1]), _AVERAGE, np.uint8)
    for top in range(0, height, count):
        size = min(count, height - top)
        padded[0] = padded[count]
        padded[1 : 1 + size, channels:] = rows[top : top + size]
        left, above = padded[1 : 1 + size, :-channels], padded[:size, channels:]
        # (left + above) // 2 without a ninth bit.
        mean = ((left ^ above) >> 1) + (left & above)
        np.subtract(padded[1 : 1 + size, channels:], mean, out=filtered[:size, 1:])
        yield filtered[:size].data.cast("B")


def _chunk(kind: bytes, body: bytes) -> Iterator[bytes]:
    yield struct.pack(">I", len(body)) + kind
    yield body
    yield struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
