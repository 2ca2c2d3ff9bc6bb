"""Where training photos come from: a folder, or a prefix in object storage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Protocol

from nst_core.errors import (
    BlobNotFoundError,
    BlobTooLargeError,
    ConfigError,
    ImageDecodeError,
    ImageTooLargeError,
)
from nst_core.formats import IMAGE_SUFFIXES
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.cache import FileCache

#: A larger file is not a training photo, and would fill the memory.
MAX_FILE_BYTES = 200_000_000
#: Fewer photos than these draw a warning. The shipped styles took about 1,200; a network that sees each of a few photos
#: hundreds of times fits the style to them and paints new ones worse.
FEW_PHOTOS = 100
_PAGE = 1000


def few_photos(count: int) -> str | None:
    """Return a warning if there are so few photos that the style may suffer, or None."""
    if count >= FEW_PHOTOS:
        return None
    return f"There are only {count} photos; {FEW_PHOTOS} are enough to begin with, the shipped styles took 1,242."


class PhotoSource(Protocol):
    """Named files of photos, in a fixed order."""

    @property
    def names(self) -> Sequence[str]:
        """The names of all photos, always in the same order; there is at least one."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises ImageError if only this file is unusable, and another NstError if all would fail.
        """


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """A conversion that makes files of photos smaller or faster to read."""

    #: Distinguishes its results from those of other conversions in the cache.
    name: str
    make: Callable[[bytes], bytes]


class FolderPhotos:
    """The photos in a folder and in its sub-folders, by their path in it."""

    def __init__(self, folder: Path) -> None:
        """List the folder; raise ConfigError if there is no photo."""
        self.folder = folder
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        self.names: Sequence[str] = [path.relative_to(folder).as_posix() for path in found]
        _check_some(self.names, folder)

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raise ImageError if it cannot be read."""
        path = self.folder / name
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImageTooLargeError(f"The file has more than {MAX_FILE_BYTES:,} bytes.")
            return path.read_bytes()
        except OSError as error:
            raise ImageDecodeError(f"The file cannot be read: {error.strerror}.") from error


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
        _check_some(self.names, prefix)

    def read(self, name: str) -> bytes:
        """Return an object's bytes, from the cache if they are in it.

        Raises ImageError for an object that is huge or gone. That the storage does not answer or refuses is a
        BlobError: temporary errors must not affect which photos a training sees.
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
        except BlobNotFoundError as error:
            raise ImageDecodeError(error.message) from error

    def _fetch(self, uri: BlobUri) -> bytes:
        return self._blobs.get(uri, max_bytes=MAX_FILE_BYTES)


class SomePhotos:
    """Some of the photos of another source."""

    def __init__(self, source: PhotoSource, names: Sequence[str]) -> None:
        """Take these names of the source, in this order."""
        self.names = names
        self._source = source

    def read(self, name: str) -> bytes:
        """Return a file's bytes, as the other source does."""
        return self._source.read(name)


def _pages(blobs: BlobStore, prefix: BlobUri) -> Iterator[dict[str, str]]:
    after = ""
    while tags := blobs.list_tags(prefix, after=after, limit=_PAGE):
        yield tags
        after = next(reversed(tags))


def _check_some(names: Sequence[str], where: object) -> None:
    if not names:
        raise ConfigError(f"There are no photos ({', '.join(sorted(IMAGE_SUFFIXES))}) under {where}.")
