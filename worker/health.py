"""Whether this process can still make an image, asked wherever one failed for no reason of its own.

A process may be ill for good and still answer: after an error that CUDA keeps, or when an import broke off for want of
memory and left half a module behind. It would fail each image at once, and so take more of them than all others.
"""

import logging
import time
from collections.abc import Callable
from itertools import cycle
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nst_core import decoder, images
from nst_core.clock import Clock
from nst_core.errors import EngineError
from nst_core.images import Picture
from nst_core.transformer import MIN_SIDE_PX
from worker.engine import Engine

_log = logging.getLogger(__name__)
_SIDE_PX = 64
#: Mean difference of two results, in grey levels, above which a network does not compute what it did: algorithms that
#: are chosen anew may round otherwise.
_TOLERANCE = 1.0
_PAUSE_S = 1.0


class Stylize(Protocol):
    """A network with its weights, as nst_core.stylize.Stylizer is one."""

    def __call__(
        self, batch: NDArray[np.uint8], *, strength: float = 1.0, preserve_color: bool = False
    ) -> NDArray[np.uint8]:
        """Return N, H, W, 3 uint8 images stylized, in the same shape."""
        ...


class SelfTest:
    """A small picture that goes the way of every image but for the storage, and must come out as the first time."""

    def __init__(self, load: Callable[[], Stylize], *, engine: Engine, timeout_s: float = 600.0) -> None:
        """Load the network at the first call; that one also has all imported that torch and Pillow import late.

        An engine that does not come to it within `timeout_s` has failed too.
        """
        self._timeout_s = timeout_s
        self._load = load
        self._stylize: Stylize | None = None
        self._engine = engine
        rows, columns = np.mgrid[0:_SIDE_PX, 0:_SIDE_PX]
        rgb = np.stack((rows * 4, columns * 4, (rows * columns) % 256), axis=-1).astype(np.uint8)
        self._photo = Picture(rgb=rgb, alpha=None)
        self._widths_px = cycle(range(MIN_SIDE_PX, _SIDE_PX))
        self._first: NDArray[np.uint8] | None = None

    def __call__(self) -> None:
        """Raise what goes wrong; EngineError where the result is not what it was."""
        stylize = self._stylize = self._stylize or self._load()
        data = images.encode(self._photo, ".png", quality=90)
        photo = decoder.decode(data, max_pixels=_SIDE_PX**2, max_px=None)
        result = self._compute(stylize, photo.rgb)[0]
        # One of a size that is new or was not made for long: what is compiled already may go well for ever.
        self._compute(stylize, photo.rgb[:, : next(self._widths_px)])
        images.encode(Picture(rgb=result, alpha=None), ".jpg", quality=90)
        if self._first is None:
            self._first = result
        difference = np.abs(result.astype(np.float32) - self._first).mean()
        if difference > _TOLERANCE:
            raise EngineError(f"A network makes something else of a photo than before: {difference:.1f} grey levels.")

    def _compute(self, stylize: Stylize, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a batch of one."""
        return self._engine.submit(lambda: stylize(rgb[np.newaxis]), lane="self-test").result(self._timeout_s)


class Health:
    """Tells failures of images from those of the process, and ends a process that does not recover."""

    def __init__(
        self,
        test: Callable[[], None],
        *,
        ill_after_s: float,
        leave: Callable[[str], object],
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`test` raises where the process cannot make an image; `leave` ends it, and is told why."""
        self._test = test
        self._ill_after_s = ill_after_s
        self._leave = leave
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._recovered_at = -float("inf")

    def recovered(self) -> bool:
        """Return whether what has just failed may go well now, because the process was ill and is well again.

        False where the process is well and was: the failure is of what failed. Takes as long as the process is ill,
        and ends it after a while.
        """
        failed_at, ill_since = self._clock(), None
        with self._lock:
            if failed_at <= self._recovered_at:
                return True
            while (error := self._error()) is not None:
                _log.warning("this worker cannot make an image: %r", error)
                # From here on: the test may have waited for the engine, whose calls take their time.
                ill_since = self._clock() if ill_since is None else ill_since
                if self._clock() - ill_since > self._ill_after_s:
                    self._leave(f"this worker can make no image any more: {error!r}")
                    return False
                self._sleep(_PAUSE_S)
                self._recovered_at = self._clock()
            return self._recovered_at >= failed_at

    def _error(self) -> Exception | None:
        try:
            self._test()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
            return error
        return None
