"""Paintings that clients bring for runs: checked at once, so that no one waits for a worker to hear what is wrong."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Lock

from nst_core.decoding import decoder
from nst_core.errors import BlobAccessError, BlobInvalidError, BlobNotFoundError, BlobTooLargeError, ImageError
from nst_core.formats import MEDIA_TYPES
from nst_core.images.picture import Limits
from nst_core.protocol.segments import StoredFile
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.paintings import MAX_PAINTING_BYTES, MIN_PAINTING_PX, style_size
from scheduler.domain.errors import RateLimitedError, RequestInvalidError, TooLargeError

POINTER = "/painting"
#: Requests of one tenant, and of all, whose paintings may be read at the same time. Each takes a thread that other
#: requests need, and a painting that is slow to decode keeps a decoder busy for seconds.
_MAX_OF_TENANT, _MAX_OF_ALL = 3, 12
_UNKNOWN = ".bin"
_UNKNOWN_TYPE = "application/octet-stream"
#: What `media_type` returns.
PAINTING_TYPES = (*dict.fromkeys(MEDIA_TYPES.values()), _UNKNOWN_TYPE)


@dataclass(frozen=True, kw_only=True)
class Painting:
    """A painting, and what the client calls it: an s3:// address, or the name of a file."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def fetch(blobs: BlobStore, uri: BlobUri) -> Painting:
    """Read a painting; raise RequestInvalidError if there is none, and TooLargeError if it is too large."""
    try:
        return Painting(name=str(uri), data=blobs.get(uri, max_bytes=MAX_PAINTING_BYTES))
    except (BlobNotFoundError, BlobAccessError, BlobInvalidError) as error:
        raise RequestInvalidError(error.message, pointer=POINTER) from error
    except BlobTooLargeError as error:
        raise too_large() from error


def too_large() -> TooLargeError:
    """Return the error of a painting with too many bytes."""
    return TooLargeError(f"A painting may have at most {MAX_PAINTING_BYTES:,} bytes.")


class _Turns:
    """Limits how many paintings are read at the same time; a tenant's are decoded one after the other."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reading = Counter[str]()
        self._decoding: dict[str, Lock] = {}

    @contextmanager
    def take(self, tenant: str) -> Iterator[None]:
        """Wait for the tenant's turn.

        Raises RateLimitedError if too many requests of the tenant, or of all tenants, are waiting.
        """
        with self._lock:
            if self._reading[tenant] >= _MAX_OF_TENANT or self._reading.total() >= _MAX_OF_ALL:
                raise RateLimitedError("Many paintings are being read; try again in a second.")
            self._reading[tenant] += 1
            turn = self._decoding.setdefault(tenant, Lock())
        try:
            with turn:
                yield
        finally:
            with self._lock:
                self._reading[tenant] -= 1
                if not self._reading[tenant]:
                    del self._reading[tenant], self._decoding[tenant]


_TURNS = _Turns()


def check(painting: Painting, *, tenant: str) -> tuple[int, int]:
    """Return the size of a painting; raise RequestInvalidError unless a style can be learned from it.

    Raises RateLimitedError if many other paintings are being read.
    """
    if len(painting.data) > MAX_PAINTING_BYTES:
        raise too_large()
    try:
        with _TURNS.take(tenant):
            return decoder.check(painting.data, Limits(min_side_px=MIN_PAINTING_PX))
    except ImageError as error:
        raise _refused(error, POINTER) from error


def check_size(size: tuple[int, int], style_size_px: int, *, pointer: str = POINTER) -> None:
    """Raise RequestInvalidError if a painting becomes too thin with the longest side that a training gives it.

    `pointer` is the field of the request that is the reason.
    """
    try:
        style_size(size, style_size_px)
    except ImageError as error:
        raise _refused(error, pointer) from error


def _refused(error: ImageError, pointer: str) -> RequestInvalidError:
    return RequestInvalidError(f"The painting cannot be used ({error.code}): {error.message}", pointer=pointer)


def keep(blobs: BlobStore, painting: Painting, place: BlobUri) -> StoredFile:
    """Put a painting into a run's place."""
    suffix = PurePosixPath(painting.name).suffix.lower()
    suffix = suffix if suffix in MEDIA_TYPES else _UNKNOWN
    uri = BlobUri(place.bucket, f"{place.key}painting{suffix}")
    blobs.put(uri, painting.data, content_type=media_type(str(uri)))
    return StoredFile(uri=str(uri), sha256=painting.sha256)


def media_type(uri: str) -> str:
    """Return the media type of a painting in storage."""
    return MEDIA_TYPES.get(PurePosixPath(uri).suffix, _UNKNOWN_TYPE)
