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
from nst_core.nets.families import Style
from nst_core.nets.weights import blend_files
from nst_core.nets.weights_header import read_config
from nst_core.protocol.chunks import BlendPart, StyleRef
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import version_of_blend, version_of_file


class Model(Protocol):
    """What the cache needs to know about a loaded network."""

    @property
    def nbytes(self) -> int:
        """The memory that the network takes, in bytes."""
        ...


_M = TypeVar("_M", bound=Model)
#: By address of the weights file, index of the style in it, parts of the blend, engine, and share of the style.
_Key = tuple[str, int, tuple[BlendPart, ...], EngineChoice, float]


@dataclass(frozen=True, kw_only=True)
class _Loaded(Generic[_M]):
    model: _M
    #: SHA-256 of the weights file, in hex; empty for a blend, whose parts were checked.
    sha256: str


class ModelCache(Generic[_M]):
    """Loads each style once for each engine, and keeps the networks used last, up to a number of bytes."""

    def __init__(
        self,
        blobs: BlobStore,
        build: Callable[[bytes, Style, EngineChoice], _M],
        *,
        capacity_bytes: int,
        on_lookup: Callable[[bool], object] = lambda hit: None,
    ) -> None:
        """Use `build` to make the network of a style in the bytes of a weights file for an engine.

        `on_lookup` is told at each call of `get` whether the network was there.
        """
        self._on_lookup = on_lookup
        self._blobs = blobs
        self._build = build
        self._capacity_bytes = capacity_bytes
        self._lock = Lock()
        self._loaded: OrderedDict[_Key, Future[_Loaded[_M]]] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """The memory that all loaded networks take, in bytes."""
        with self._lock:
            return sum(self._sizes().values())

    def get(self, style: StyleRef, choice: EngineChoice, *, share: float = 1.0) -> _M:
        """Return the network of a style for an engine, which paints a share of the style; see `StyleRef.fades`.

        If two threads ask for the same one at once, one loads it and the other waits. Raises BlobError if the file
        cannot be read, and WeightsError if it is damaged, has no such style or is not the file of this version, or if
        the styles cannot be blended, or not be painted less. A style that cannot be used is not kept.
        """
        key = (style.weights, style.index, style.parts, choice, share)
        with self._lock:
            future = self._loaded.get(key)
            missing = future is None
            if future is None:
                future = self._loaded[key] = Future()
            self._loaded.move_to_end(key)
        self._on_lookup(not missing)
        if missing:
            self._fill(future, key, style)
        loaded = future.result()
        _check_version(style, loaded.sha256)
        return loaded.model

    def _fill(self, future: Future[_Loaded[_M]], key: _Key, style: StyleRef) -> None:
        *_, choice, share = key
        try:
            loaded = self._load(style, choice, share)
        except BaseException as error:
            with self._lock:
                del self._loaded[key]
            future.set_exception(error)
            raise
        future.set_result(loaded)
        self._evict()

    def _load(self, style: StyleRef, choice: EngineChoice, share: float) -> _Loaded[_M]:
        if style.parts:
            _check_version(style, "")
            files = [self._file(part, share)[:2] for part in style.parts]
            data = blend_files(files, [part.share for part in style.parts])
            return _Loaded(model=self._build(data, 0, choice), sha256="")
        data, painted, digest = self._file(style, share)
        return _Loaded(model=self._build(data, painted, choice), sha256=digest)

    def _file(self, style: StyleRef | BlendPart, share: float) -> tuple[bytes, Style, str]:
        """Return a weights file, what is painted of it, and its SHA-256."""
        data = self._blobs.get(BlobUri.parse(style.weights))
        digest = hashlib.sha256(data).hexdigest()
        _check_version(style, digest)
        if share == 1.0:
            return data, style.index, digest
        return data, read_config(data, name=style.weights).weaker(style.index, share, name=style.weights), digest

    def _evict(self) -> None:
        """Forget the networks used longest ago. A chunk that still uses one keeps it alive until its end."""
        with self._lock:
            sizes = self._sizes()
            total = sum(sizes.values())
            # The newest stays even if it alone is too large: its chunk needs it now.
            for key in list(sizes)[:-1]:
                if total <= self._capacity_bytes:
                    break
                total -= sizes[key]
                del self._loaded[key]

    def _sizes(self) -> dict[_Key, int]:
        """Return the bytes of the networks that are loaded, oldest use first; the caller has the lock."""
        return {key: future.result().model.nbytes for key, future in self._loaded.items() if future.done()}


def _check_version(style: StyleRef | BlendPart, file_sha256: str) -> None:
    if isinstance(style, StyleRef) and style.parts:
        if version_of_blend((part.version, part.share) for part in style.parts) != style.version:
            raise WeightsError(f"The styles of {style.name} do not make version {style.version}.")
    elif version_of_file(file_sha256, style.index) != style.version:
        raise WeightsError(f"{style.weights} is not version {style.version}: its SHA-256 is {file_sha256}.")
