"""Decodes images in child processes, so that no file can crash, block or fill the process that received it.

`decode` has the limits, results and errors of `images.decode`. A library that reads hostile bytes may crash, hold
the GIL forever, or take all memory. Here that costs one child process, which is replaced, and one image, which fails.
Children stay alive between images; each takes about 40 MB.
"""

import atexit
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from queue import LifoQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nst_core import errors
from nst_core.decoding.child import Child, ChildDiedError, OutOfTimeError, StarvedError
from nst_core.errors import EngineError, ImageDecodeError, ImageTooLargeError
from nst_core.images.picture import DEFAULT_LIMITS, Limits, Picture
from nst_core.system.budget import Budget

if TYPE_CHECKING:
    from nst_core.settings import DecoderSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: The error classes that a child may report.
_ERRORS = {
    kind.__name__: kind
    for kind in (
        *(errors.ImageDecodeError, errors.ImageFormatError, errors.ImageTooLargeError, errors.ImageTooSmallError),
        errors.ConfigError,
    )
}


#: Returns whether this process has room for a picture of so many pixels now. Must not wait: a child waits meanwhile.
HasRoom = Callable[[int], bool]


class NoRoomError(Exception):
    """This process has no room for a picture of `pixels` pixels now."""

    def __init__(self, pixels: int) -> None:
        super().__init__(pixels)
        self.pixels = pixels


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS, *, has_room: HasRoom = lambda pixels: True) -> Picture:
    """Return the image in a file's bytes, as `images.decode` does, decoded by a child process.

    Raises the same errors; also ImageDecodeError if the reader crashes or takes too much processor time,
    ImageTooLargeError if it takes too much memory, and EngineError if no child can be started, or none gets processor
    time. Raises NoRoomError, before any pixel is read, if `has_room` returns False. It may be called twice, if a child
    dies.
    """
    return shared_pool().decode(data, limits, has_room=has_room)


def check(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Decode the image in a file's bytes as a check and return its width and height.

    No pixels come into this process. Raises the errors of `decode`.
    """
    return shared_pool().check(data, limits)


@lru_cache(maxsize=1)
def shared_pool() -> "DecoderPool":
    """Return the pool of this process, which starts children on demand."""
    from nst_core.settings import DecoderSettings  # late, because it needs pydantic

    pool = DecoderPool(DecoderSettings())
    atexit.register(pool.close)
    return pool


class DecoderPool:
    """A few child processes that decode images; may be used by any number of threads."""

    def __init__(self, settings: "DecoderSettings") -> None:
        """Start no child yet."""
        self._settings = settings
        self._budget = Budget(settings.memory_bytes)
        self._closed = False
        # The child that was used last is used next: the others' memory may be swapped out.
        self._idle: LifoQueue[Child | None] = LifoQueue()
        for _ in range(settings.processes):
            self._idle.put(None)

    def start(self) -> None:
        """Start a child, unless one waits, so that the first image does not wait for it; EngineError if that fails."""
        with self._child(fresh=False):
            pass

    def decode(
        self, data: bytes, limits: Limits = DEFAULT_LIMITS, *, has_room: HasRoom = lambda pixels: True
    ) -> Picture:
        """Return the image in a file's bytes; see the function `decode`."""
        read = partial(_picture, max_pixels=limits.max_pixels)
        return self._with_retry(data, limits, read, pixels=True, has_room=has_room)

    def check(self, data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
        """Return the width and height of an image that can be decoded; see the function `check`."""
        return self._with_retry(data, limits, _size, pixels=False)

    def _with_retry(
        self,
        data: bytes,
        limits: Limits,
        read: Callable[[Child, dict[str, Any]], _T],
        *,
        pixels: bool,
        has_room: HasRoom = lambda pixels: True,
    ) -> _T:
        """Return the result for an image, with a second try if the child of the first try dies."""
        arguments = asdict(limits) | {"pixels": pixels}
        try:
            return self._decode(data, arguments, read, has_room, fresh=False)
        except ChildDiedError as error:
            # The kernel or another image may have killed it; if the file did, it will do so again.
            _log.warning("an image reader died (%s); the image is retried once", error)
        try:
            return self._decode(data, arguments, read, has_room, fresh=True)
        except StarvedError as error:
            raise EngineError("The process that reads images gets no processor time, or hangs.") from error
        except ChildDiedError as error:
            raise ImageDecodeError("The image makes its reader crash.") from error

    def close(self) -> None:
        """End the idle children; busy ones end with this process."""
        self._closed = True
        slots = []
        while not self._idle.empty():
            slots.append(self._idle.get())
        for child in slots:
            if child is not None:
                child.end()
            self._idle.put(None)

    def _decode(
        self,
        data: bytes,
        arguments: dict[str, int | None],
        read: Callable[[Child, dict[str, Any]], _T],
        has_room: HasRoom,
        *,
        fresh: bool,
    ) -> _T:
        with self._child(fresh=fresh) as child:
            answer = child.request(arguments, data)
            if (needed := answer.get("bytes")) is None:
                raise _error(answer)
            if not has_room(pixels := int(answer["pixels"])):
                child.forget()
                raise NoRoomError(pixels)
            with self._budget.hold(int(needed)):
                answer = child.proceed()
                if "height" not in answer:
                    raise _error(answer)
                return read(child, answer)

    @contextmanager
    def _child(self, *, fresh: bool) -> Iterator[Child]:
        """Take a child, and end it if it does not finish its request."""
        child = self._idle.get()
        try:
            if child is not None and fresh:
                child.end()
                child = None
            if child is None:
                child = Child(memory_bytes=self._settings.memory_bytes, seconds=self._settings.seconds)
            yield child
        except OutOfTimeError as error:
            raise ImageDecodeError(
                f"Reading the image takes more than {self._settings.seconds} seconds of processor time."
            ) from error
        finally:
            if child is not None and (self._closed or not child.is_ready):
                child.end()
                child = None
            self._idle.put(child)


def _error(answer: dict[str, Any]) -> errors.NstError:
    """Return the error in a child's answer."""
    kind = _ERRORS.get(answer.get("error", ""))
    if kind is not None:
        return kind(str(answer["message"]))
    # A library raised an error that nobody expected; the image is to blame all the same.
    _log.error("an image reader failed: %s", answer.get("message"))
    return ImageDecodeError("The image cannot be read.")


def _size(child: Child, answer: dict[str, Any]) -> tuple[int, int]:
    child.done()
    return int(answer["width"]), int(answer["height"])


def _picture(child: Child, answer: dict[str, Any], *, max_pixels: int) -> Picture:
    height, width = int(answer["height"]), int(answer["width"])
    if not 0 < height * width <= max_pixels:
        raise ImageTooLargeError("The image has more pixels than its header says.")
    rgb = np.empty((height, width, 3), np.uint8)
    alpha = np.empty((height, width), np.uint8) if answer["alpha"] else None
    child.read_into(rgb)
    if alpha is not None:
        child.read_into(alpha)
    child.done()
    warning = answer.get("warning")
    return Picture(rgb=rgb, alpha=alpha, warning=None if warning is None else str(warning))
