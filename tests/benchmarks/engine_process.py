"""An engine in a process of its own: as in a worker if it is ours, as in any program if not. Never loads torch."""

import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from nst_core.inference.stylizer import Pixels, Precision
from nst_core.system.memory import bound_kernels, keep_freed_memory


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An engine and its precision; names that begin with "plain" are not ours."""

    name: str
    precision: Precision

    @property
    def plain(self) -> bool:
        """Whether it is what a user would run without nst."""
        return self.name.startswith("plain")


#: Our reference, whose pictures all others are compared with.
OURS = Kind(name="eager", precision="fp32")
#: Eager PyTorch, whose time all others are compared with.
EAGER = Kind(name="plain PyTorch", precision="fp32")


class EngineProcess:
    """A process that has loaded one engine and waits for photos. Close it after use."""

    def __init__(self, kind: Kind, weights: bytes) -> None:
        """Start the process, and wait until it has loaded the engine."""
        context: Any = get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(kind, weights, other), daemon=True)
        self._process.start()
        other.close()
        self._connection.recv()

    def __call__(self, photo: Pixels) -> tuple[float, Pixels]:
        """Return the seconds for a photo, and the picture."""
        self._connection.send(photo)
        seconds, picture = self._connection.recv()
        return seconds, picture

    def __enter__(self) -> "EngineProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join()


def _serve(kind: Kind, weights: bytes, connection: Connection) -> None:
    if not kind.plain:
        bound_kernels()  # before torch is imported, as a worker does
        keep_freed_memory()
    from tests.benchmarks.engine_kinds import load

    engine = load(kind, weights)
    connection.send(None)
    while True:
        try:
            photo = connection.recv()
        except EOFError:
            return
        started = time.perf_counter()
        picture = engine(photo)
        connection.send((time.perf_counter() - started, picture))
