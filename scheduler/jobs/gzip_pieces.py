"""Reads what is compressed with gzip piece by piece, within limits."""

import zlib
from collections.abc import Iterator
from itertools import chain

from nst_core.errors import BlobTooLargeError, ConfigError

#: The most bytes of a compressed manifest before and after decompression.
MAX_UNZIPPED_BYTES = 2**28
#: The most members of a compressed manifest: one a line if lines were appended one by one, and 4,096 by bgzip.
MAX_MEMBERS = 100_000
#: Bytes of compressed data that are read at once at most.
_ZIPPED_BYTES = 2**12
_GZIP = b"\x1f\x8b"


def is_gzip(first: bytes) -> bool:
    """Say whether a file that begins with these bytes is compressed with gzip."""
    return first.startswith(_GZIP)


def unzipped(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is in a gzip file, which may have several members; raise ConfigError if it is damaged or too large."""
    unzip, total, members = zlib.decompressobj(wbits=31), 0, 1
    try:
        for data in _zipped(first, pieces):
            while data:
                if unzip.eof:
                    unzip, members = zlib.decompressobj(wbits=31), members + 1
                    if members > MAX_MEMBERS:
                        raise ConfigError(f"A compressed manifest may have {MAX_MEMBERS:,} gzip members.")
                piece = unzip.decompress(data, 2**20)
                total += len(piece)
                if total > MAX_UNZIPPED_BYTES:
                    raise BlobTooLargeError(f"A compressed manifest may have {MAX_UNZIPPED_BYTES:,} bytes of text.")
                if piece:
                    yield piece
                data = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    except zlib.error as error:
        raise ConfigError("The manifest is compressed with gzip, and its data are damaged.") from error
    if not unzip.eof:
        raise ConfigError("The manifest is compressed with gzip, and breaks off.")


def _zipped(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a gzip file a few at a time: what follows a member is copied when the member ends."""
    total = 0
    for piece in chain([first], pieces):
        total += len(piece)
        if total > MAX_UNZIPPED_BYTES:
            # It may be long without any text, for example in the names of files.
            raise BlobTooLargeError(f"A compressed manifest may have {MAX_UNZIPPED_BYTES:,} bytes.")
        for start in range(0, len(piece), _ZIPPED_BYTES):
            yield piece[start : start + _ZIPPED_BYTES]


def skipped(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield the pieces without their first `count` bytes."""
    for piece in pieces:
        if len(piece) > count:
            yield piece[count:]
        count = max(0, count - len(piece))
