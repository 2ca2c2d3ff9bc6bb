"""Where training photos come from: a folder here, object storage in `stored_photos`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nst_core.errors import ConfigError, ImageDecodeError, ImageTooLargeError
from nst_core.formats import IMAGE_SUFFIXES

#: A larger file is not a training photo, and would fill the memory. The scheduler takes uploads of as many bytes.
MAX_FILE_BYTES = 200 * 2**20
#: Fewer photos than these draw a warning. The shipped styles took about 1,200; a network that sees each of a few photos
#: hundreds of times fits the style to them and paints new ones worse.
FEW_PHOTOS = 100


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


class FolderPhotos:
    """The photos in a folder and in its sub-folders, by their path in it."""

    def __init__(self, folder: Path) -> None:
        """List the folder; raise ConfigError if there is no photo."""
        self.folder = folder
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        self.names: Sequence[str] = [path.relative_to(folder).as_posix() for path in found]
        check_some(self.names, folder)

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raise ImageError if it cannot be read."""
        path = self.folder / name
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImageTooLargeError(f"The file has more than {MAX_FILE_BYTES:,} bytes.")
            return path.read_bytes()
        except OSError as error:
            raise ImageDecodeError(f"The file cannot be read: {error.strerror}.") from error


class SomePhotos:
    """Some of the photos of another source."""

    def __init__(self, source: PhotoSource, names: Sequence[str]) -> None:
        """Take these names of the source, in this order."""
        self.names = names
        self._source = source

    def read(self, name: str) -> bytes:
        """Return a file's bytes, as the other source does."""
        return self._source.read(name)


def check_some(names: Sequence[str], where: object) -> None:
    """Raise ConfigError if a place has no photos."""
    if not names:
        raise ConfigError(f"There are no photos ({', '.join(sorted(IMAGE_SUFFIXES))}) under {where}.")
