"""Training photos in storage, the nearest of them on this machine."""

import fcntl
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import IO

from nst_core.errors import DiskError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.files import open_own, own_folder, usable_cache_folder
from nst_core.training.cache import FileCache
from nst_core.training.config import TrainConfig
from nst_core.training.photos import reduce_photo
from nst_core.training.sources import PhotoSource, Reduction, StoredPhotos


class PhotoLibrary:
    """Opens photos of trainings, and keeps what was read of them, reduced to what crops need, in a folder.

    Workers of one machine have a folder each, which a later worker takes over.
    """

    def __init__(self, blobs: BlobStore, folder: Path, *, max_bytes: int) -> None:
        """Keep so many bytes in a folder of one's own below `folder`; it is created when the first photo is asked for.

        The process that uses it holds a lock, which goes with it.
        """
        self._blobs = blobs
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._claim: IO[bytes] | None = None
        self._cache: FileCache | None = None

    def open(self, prefix: str, config: TrainConfig) -> PhotoSource:
        """Return the photos under an s3:// prefix.

        Raises ConfigError if there is none, DiskError if the folder cannot be used, and BlobError if they cannot be
        listed.
        """
        make = partial(reduce_photo, size_px=config.size_px, zoom=config.zoom)
        reduction = Reduction(name=f"{config.size_px}*{config.zoom!r}", make=make)
        return StoredPhotos(self._blobs, BlobUri.parse(prefix), cache=self._opened(), reduction=reduction)

    def close(self) -> None:
        """Leave the folder to another worker."""
        with self._lock:
            if self._claim is not None:
                self._claim.close()
            self._claim = self._cache = None

    def _opened(self) -> FileCache:
        with self._lock:
            if self._cache is None:
                try:
                    self._claim, folder = _claimed(self._folder)
                    self._cache = FileCache(folder, max_bytes=self._max_bytes)
                except OSError as error:
                    raise DiskError(
                        f"The worker cannot keep photos in NST_CACHE_DIR, {self._folder}: {error.strerror}."
                    ) from error
            return self._cache


def _claimed(root: Path) -> tuple[IO[bytes], Path]:
    """Return the first folder below `root` that no other process has, and the open file that claims it.

    Raises ConfigError if other users could have put files there, which would be taken for photos.
    """
    root = usable_cache_folder(root)
    for number in count():
        file = open_own(root / f"photos-{number}.lock")  # open for as long as the folder is in use
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        try:
            return file, own_folder(root / f"photos-{number}")
        except BaseException:
            file.close()
            raise
    raise AssertionError  # there is no last number
