"""Networks that stay loaded between chunks."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, Protocol, TypeVar

from nst_core.errors import WeightsError
from nst_core.storage.blobs import BlobStore, BlobUri


class Model(Protocol):
    """What the cache needs to know of a loaded network."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the network takes."""
        ...


_M = TypeVar("_M", bound=Model)


class ModelCache(Generic[_M]):
    """Loads each style version once and keeps those used last, up to a number of bytes."""

    def __init__(self, blobs: BlobStore, build: Callable[[bytes], _M], *, capacity_bytes: int) -> None:
        """Use `build` to make a network from the bytes of a weights file."""
        self._blobs = blobs
        self._build = build
        self._capacity_bytes = capacity_bytes
        self._lock = Lock()
        self._models: OrderedDict[str, Future[_M]] = OrderedDict()

    def get(self, version: str, weights: str) -> _M:
        """Return the network of a style version, whose weights file has this address.

        Where two threads ask for one version at once, one loads it and the other waits. Raises BlobError where the
        file cannot be read, and WeightsError where it is damaged or is not that version; nothing is kept then.
        """
        with self._lock:
            future = self._models.get(version)
            missing = future is None
            if future is None:
                future = self._models[version] = Future()
            self._models.move_to_end(version)
        if missing:
            self._fill(future, version, weights)
        return future.result()

    def _fill(self, future: Future[_M], version: str, weights: str) -> None:
        try:
            model = self._load(version, weights)
        except BaseException as error:
            with self._lock:
                del self._models[version]
            future.set_exception(error)
            raise
        future.set_result(model)
        self._evict()

    def _load(self, version: str, weights: str) -> _M:
        data = self._blobs.get(BlobUri.parse(weights))
        digest = hashlib.sha256(data).hexdigest()
        if digest != version:
            raise WeightsError(f"{weights} is not version {version}: its SHA-256 is {digest}.")
        return self._build(data)

    def _evict(self) -> None:
        """Forget the networks used longest ago; a chunk that still uses one keeps it alive until its end."""
        with self._lock:
            loaded = {version: future.result().nbytes for version, future in self._models.items() if future.done()}
            total = sum(loaded.values())
            # The newest stays even where it alone is too large: its chunk needs it now.
            for version in list(loaded)[:-1]:
                if total <= self._capacity_bytes:
                    break
                total -= loaded[version]
                del self._models[version]
