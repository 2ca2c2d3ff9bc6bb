"""Networks that stay loaded between chunks."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Generic, Protocol, TypeVar

from nst_core.errors import WeightsError
from nst_core.inference.stylizer import EngineChoice
from nst_core.protocol.chunks import StyleRef
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import version_of_file


class Model(Protocol):
    """What the cache needs to know about a loaded network."""

    @property
    def nbytes(self) -> int:
        """The memory that the network takes, in bytes."""
        ...


_M = TypeVar("_M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class _Loaded(Generic[_M]):
    model: _M
    #: SHA-256 of the weights file, in hex.
    sha256: str


class ModelCache(Generic[_M]):
    """Loads each style once for each engine, and keeps the networks used last, up to a number of bytes."""

    def __init__(
        self, blobs: BlobStore, build: Callable[[bytes, int, EngineChoice], _M], *, capacity_bytes: int
    ) -> None:
        """Use `build` to make the network of a style, by its index in the bytes of a weights file, for an engine."""
        self._blobs = blobs
        self._build = build
        self._capacity_bytes = capacity_bytes
        self._lock = Lock()
        #: By address of the weights file, index of the style in it, and engine.
        self._loaded: OrderedDict[tuple[str, int, EngineChoice], Future[_Loaded[_M]]] = OrderedDict()

    def get(self, style: StyleRef, choice: EngineChoice) -> _M:
        """Return the network of a style for an engine.

        If two threads ask for the same one at once, one loads it and the other waits. Raises BlobError if the file
        cannot be read, and WeightsError if it is damaged, has no such style or is not the file of this version. A
        style that cannot be used is not kept.
        """
        key = (style.weights, style.index, choice)
        with self._lock:
            future = self._loaded.get(key)
            missing = future is None
            if future is None:
                future = self._loaded[key] = Future()
            self._loaded.move_to_end(key)
        if missing:
            self._fill(future, style, choice)
        loaded = future.result()
        _check_version(style, loaded.sha256)
        return loaded.model

    def _fill(self, future: Future[_Loaded[_M]], style: StyleRef, choice: EngineChoice) -> None:
        try:
            loaded = self._load(style, choice)
        except BaseException as error:
            with self._lock:
                del self._loaded[style.weights, style.index, choice]
            future.set_exception(error)
            raise
        future.set_result(loaded)
        self._evict()

    def _load(self, style: StyleRef, choice: EngineChoice) -> _Loaded[_M]:
        data = self._blobs.get(BlobUri.parse(style.weights))
        digest = hashlib.sha256(data).hexdigest()
        _check_version(style, digest)
        return _Loaded(model=self._build(data, style.index, choice), sha256=digest)

    def _evict(self) -> None:
        """Forget the networks used longest ago. A chunk that still uses one keeps it alive until its end."""
        with self._lock:
            sizes = {key: future.result().model.nbytes for key, future in self._loaded.items() if future.done()}
            total = sum(sizes.values())
            # The newest stays even if it alone is too large: its chunk needs it now.
            for key in list(sizes)[:-1]:
                if total <= self._capacity_bytes:
                    break
                total -= sizes[key]
                del self._loaded[key]


def _check_version(style: StyleRef, file_sha256: str) -> None:
    if version_of_file(file_sha256, style.index) != style.version:
        raise WeightsError(f"{style.weights} is not version {style.version}: its SHA-256 is {file_sha256}.")
