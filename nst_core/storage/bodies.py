"""The bytes of objects as they come and go: compressed or not, whole or in pieces, with or without their number."""

import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from typing import Any

from nst_core.errors import BlobInvalidError, BlobReplacedError, BlobTooLargeError, BlobUnavailableError
from nst_core.storage.faults import Address, translated

_PIECE_BYTES = 1 << 20
#: The first bytes of a file of gzip that are decompressed together.
_WINDOW_BYTES = 256
#: Called again and again while the bytes of a large object come or go, since that may take minutes.
OnPiece = Callable[[], object]


def size_of(answer: Any) -> int | None:
    """Return the size of an answer's object; None if the server does not say, or sends it compressed."""
    size = answer.get("ContentLength")
    return None if size is None or _is_zipped(answer) else int(size)


def _is_zipped(answer: Any) -> bool:
    return "gzip" in str(answer.get("ContentEncoding", "")).replace(" ", "").split(",")


def whole(uri: Address, answer: Any, max_bytes: int | None, on_piece: OnPiece) -> bytes:
    """Return the bytes of an answer; raise BlobTooLargeError if more than `max_bytes` come."""
    size = size_of(answer)
    if size is not None and size <= _PIECE_BYTES:
        with translated(uri), answer["Body"] as body:
            data: bytes = body.read()
            return data
    read = BytesIO()
    for piece in pieces_of(uri, answer):
        on_piece()
        read.write(piece)
        if max_bytes is not None and read.tell() > max_bytes:
            raise BlobTooLargeError(f"{uri} has more than {max_bytes:,} bytes, which is the limit.")
    return read.getvalue()  # which does not copy them


class _Upload(BytesIO):
    """Bytes to send, which call a function whenever some of them are sent."""

    def __init__(self, data: bytes, on_piece: OnPiece) -> None:
        super().__init__(data)
        self._on_piece = on_piece

    def read(self, size: int | None = -1, /) -> bytes:
        self._on_piece()
        return super().read(size)


def body_of(data: bytes, on_piece: OnPiece) -> bytes | _Upload:
    """Return what to send for some bytes, so that `on_piece` is called if there are many."""
    return data if len(data) <= _PIECE_BYTES else _Upload(data, on_piece)


def pieces_of(uri: Address, answer: Any) -> Iterator[bytes]:
    """Yield an object's bytes as they come, in pieces of about 1 MiB."""
    with translated(uri), answer["Body"]:
        pieces = answer["Body"].iter_chunks(_PIECE_BYTES)
        yield from _unzipped(uri, pieces) if _is_zipped(answer) else pieces


def _unzipped(uri: Address, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield decompressed pieces; unchanged pieces if the content is not compressed although the header says so.

    Several files of gzip one after the other are one too, and zeros may follow each of them.
    """
    first = next(pieces, b"")
    if not first.startswith(b"\x1f\x8b"):
        yield first
        yield from pieces
        return
    unzip, window, found = zlib.decompressobj(wbits=31), _WINDOW_BYTES, bytearray()
    try:
        for piece in chain([first], pieces):
            left = memoryview(piece)
            while left:
                # zlib copies what it does not use, so a file that may be tiny gets few bytes at first.
                part, window = left[:window], min(2 * window, _PIECE_BYTES)
                if unzip.eof:
                    rest = bytes(part).lstrip(b"\0")
                    left = left[len(part) - len(rest) :]
                    unzip = zlib.decompressobj(wbits=31) if rest else unzip
                    continue
                found += unzip.decompress(part, _PIECE_BYTES)
                unused = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
                left = left[len(part) - len(unused) :]
                window = _WINDOW_BYTES if unzip.eof else window
                if len(found) >= _PIECE_BYTES:
                    yield bytes(found)
                    found.clear()
            yield bytes(found)
            found.clear()
    except zlib.error as error:
        raise BlobInvalidError(f"{uri} is marked as compressed but cannot be decompressed.") from error
    if not unzip.eof:
        raise BlobUnavailableError(f"The storage sent only the beginning of {uri}.")


def exactly(nbytes: int, pieces: Iterator[bytes], uri: Address) -> Iterator[bytes]:
    """Yield pieces; raise BlobReplacedError if they have more or fewer bytes than `nbytes` together."""
    count = 0
    for piece in pieces:
        count += len(piece)
        if count > nbytes:
            break
        yield piece
    if count != nbytes:
        raise BlobReplacedError(f"{uri} no longer has {nbytes:,} bytes: it was replaced.")


def after(uri: Address, body: Any, skip: int) -> Iterator[bytes]:
    """Yield the bytes of a body after the first `skip` ones."""
    with translated(uri), body:
        for piece in body.iter_chunks(1 << 20):
            if len(piece) > skip:
                yield piece[skip:]
            skip = max(0, skip - len(piece))
