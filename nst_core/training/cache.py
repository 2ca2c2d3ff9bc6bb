"""A cache of files in a folder, limited to a number of bytes."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Lock

from nst_core.errors import ConfigError
from nst_core.system.whole_files import write_whole

log = logging.getLogger(__name__)


class FileCache:
    """Files by key; the least recently used ones make room for new ones. Safe to share between threads.

    Only one process at a time may use a folder. Times of use are stored as file times, so that they outlast a process.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Use the files that are in `folder`, which is created if it is missing."""
        if max_bytes < 0:
            raise ConfigError(f"The size of a cache must be at least 0 bytes, not {max_bytes!r}.")
        self.folder = folder
        self.max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):  # of a process that was killed while writing
            part.unlink(missing_ok=True)
        found = [(path.stat(), path.name) for path in folder.iterdir()]
        #: Size of each file in bytes, the least recently used first.
        self._sizes = OrderedDict(
            (name, stat.st_size) for stat, name in sorted(found, key=lambda pair: pair[0].st_mtime_ns)
        )
        self._lock = Lock()
        self._make_room(0)

    @property
    def nbytes(self) -> int:
        """The bytes that the files take."""
        return sum(self._sizes.values())

    def get(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the cached result of `fetch` for this key, or call it; its errors pass through."""
        name = sha256(key.encode()).hexdigest()
        path = self.folder / name
        try:
            data = path.read_bytes()
            path.touch()
        except OSError:  # usually because there is no such file
            data = fetch()
            self._put(name, data)
        else:
            with self._lock:
                if name in self._sizes:
                    self._sizes.move_to_end(name)
        return data

    def _put(self, name: str, data: bytes) -> None:
        if len(data) > self.max_bytes:
            return
        with self._lock:
            self._make_room(len(data))
            try:
                write_whole(self.folder / name, data)
            except OSError as error:  # for example if the disk is full: files that cannot be stored are fetched again
                log.warning("The cache %s cannot be written: %s.", self.folder, error.strerror)
            else:
                self._sizes[name] = len(data)
                self._sizes.move_to_end(name)

    def _make_room(self, nbytes: int) -> None:
        total = self.nbytes + nbytes
        while self._sizes and total > self.max_bytes:
            name, size = self._sizes.popitem(last=False)
            (self.folder / name).unlink(missing_ok=True)
            total -= size
