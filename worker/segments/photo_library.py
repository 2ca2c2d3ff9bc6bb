"""Training photos in storage, with a cache on this machine."""

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
from nst_core.training.sources import PhotoSource
from nst_core.training.stored_photos import Reduction, StoredPhotos


class PhotoLibrary:
    """Opens the photos of trainings, and caches them in a folder, reduced to the size that crops need.

    Each worker of a machine has its own folder, which a later worker takes over.
    """

    def __init__(self, blobs: BlobStore, folder: Path, *, max_bytes: int) -> None:
        """Keep up to `max_bytes` in a subfolder of `folder`, created when photos are first opened.

        This process holds a lock on the subfolder, which the system releases when the process ends.
        """
        self._blobs = blobs
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._claim: IO[bytes] | None = None
        self._cache: FileCache | None = None

    def open(self, prefix: str, config: TrainConfig) -> PhotoSource:
        """Return the photos under an s3:// prefix.

        Raises ConfigError if there are none, DiskError if the folder cannot be used, and BlobError if the storage
        cannot list them.
        """
        make = partial(reduce_photo, size_px=config.size_px, zoom=config.zoom)
        reduction = Reduction(name=f"{config.size_px}*{config.zoom!r}", make=make)
        return StoredPhotos(self._blobs, BlobUri.parse(prefix), cache=self._opened(), reduction=reduction)

    def close(self) -> None:
        """Release the folder for another worker."""
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
    """Return the first subfolder of `root` that no other process uses, and the open lock file that claims it.

    Raises ConfigError if other users could put files there, which would be taken for photos.
    """
    root = usable_cache_folder(root)
    for number in count():
        file = open_own(root / f"photos-{number}.lock")  # stays open while the folder is in use
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
