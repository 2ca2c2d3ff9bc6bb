"""Training photos in object storage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import PurePosixPath

from nst_core.errors import (
    BlobAccessError,
    BlobError,
    BlobInvalidError,
    BlobNotFoundError,
    BlobTooLargeError,
    ImageDecodeError,
    ImageTooLargeError,
)
from nst_core.formats import IMAGE_SUFFIXES
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.cache import FileCache
from nst_core.training.sources import MAX_FILE_BYTES, check_some

_PAGE = 1000
#: How many other photos are tried before the storage is said to refuse all of them.
_OTHERS = 3


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """A conversion that makes files of photos smaller or faster to read."""

    #: Distinguishes its results from those of other conversions in the cache.
    name: str
    make: Callable[[bytes], bytes]


class StoredPhotos:
    """The photos under a prefix in object storage, by the rest of their keys."""

    def __init__(
        self, blobs: BlobStore, prefix: BlobUri, *, cache: FileCache, reduction: Reduction | None = None
    ) -> None:
        """List the prefix; raise ConfigError if there is no photo, BlobError if it cannot be listed.

        With a reduction, its results are cached and read, and `read` raises its ImageErrors. The cache key includes the
        ETag from the listing, so that a replaced photo is read again.
        """
        self._blobs = blobs
        self._prefix = prefix
        self._cache = cache
        self._reduction = reduction
        listed = chain.from_iterable(page.items() for page in _pages(blobs, prefix))
        found = ((key, tag) for key, tag in listed if PurePosixPath(key).suffix.lower() in IMAGE_SUFFIXES)
        self._tags = {key.removeprefix(prefix.key): tag for key, tag in found}
        self.names: Sequence[str] = list(self._tags)
        check_some(self.names, prefix)

    def read(self, name: str) -> bytes:
        """Return an object's bytes, from the cache if they are in it.

        Raises ImageError for an object that is huge, gone or archived, and for one that the storage refuses while it
        gives others. That it does not answer, or refuses them all, is a BlobError: temporary errors must not affect
        which photos a training sees.
        """
        uri = BlobUri(self._prefix.bucket, self._prefix.key + name)
        content = f"{uri} {self._tags.get(name, '')}"
        try:
            if self._reduction is None:
                return self._cache.get(content, lambda: self._fetch(uri))
            make = self._reduction.make
            return self._cache.get(f"{content} {self._reduction.name}", lambda: make(self._fetch(uri)))
        except BlobTooLargeError as error:
            raise ImageTooLargeError(error.message) from error
        except (BlobNotFoundError, BlobInvalidError) as error:
            raise ImageDecodeError(error.message) from error
        except BlobAccessError as error:
            if self._gives_others(name):
                raise ImageDecodeError(error.message) from error
            raise

    def _gives_others(self, name: str) -> bool:
        """Return whether the storage gives this process another photo than one that it refuses."""
        for other in islice((each for each in self.names if each != name), _OTHERS):
            try:
                self._fetch(BlobUri(self._prefix.bucket, self._prefix.key + other))
            except BlobTooLargeError:
                return True
            except BlobError as error:
                if error.retryable:
                    raise
            else:
                return True
        return False

    def _fetch(self, uri: BlobUri) -> bytes:
        return self._blobs.get(uri, max_bytes=MAX_FILE_BYTES)


def _pages(blobs: BlobStore, prefix: BlobUri) -> Iterator[dict[str, str]]:
    after = ""
    while tags := blobs.list_tags(prefix, after=after, limit=_PAGE):
        yield tags
        after = next(reversed(tags))
