"""Whether this process can still work, asked when something failed for a reason that may be the process's.

A process may be ill for good and still answer: after an error that CUDA keeps, when an import broke off for want of
memory and left half a module behind, when its credentials are not valid any more, or when its disk is full. It would
fail each image at once, and so take more of them than all others.
"""

import logging
import time
from collections.abc import Callable
from itertools import cycle
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nst_core import images
from nst_core.clock import Clock
from nst_core.decoding import decoder
from nst_core.errors import (
    BlobAccessError,
    BlobUnavailableError,
    DiskError,
    EngineError,
    NstError,
    StorageCallerError,
)
from nst_core.images import Picture
from nst_core.nets.transformer import MIN_SIDE_PX
from worker.runtime.engine import Engine

_log = logging.getLogger(__name__)
_SIDE_PX = 64
#: Mean difference of two results, in grey levels, above which a network does not compute what it did: algorithms that
#: are chosen anew may round otherwise.
_TOLERANCE = 1.0
_PAUSE_S = 1.0


class Stylize(Protocol):
    """A network with its weights, as nst_core.inference.stylizer.Stylizer is one."""

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
        able_to: str = "make an image",
        not_of_this: tuple[type[Exception], ...] = (BlobUnavailableError,),
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`test` raises if the process cannot do what it must be `able_to`; `leave` ends it, and is told why.

        Errors of the test that are `not_of_this` are raised: they say nothing about the process.
        """
        self._test = test
        self._ill_after_s = ill_after_s
        self._leave = leave
        self._able_to = able_to
        self._not_of_this = not_of_this
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._recovered_at = -float("inf")
        #: When the last test began that found nothing.
        self._well_at = -float("inf")
        self._reason: str | None = None

    def recovered(self) -> bool:
        """Return whether what has just failed may go well now, because the process was ill and is well again.

        False if the process is well and was: the failure is of what failed. Takes as long as the process is ill,
        and ends it after a while. Raises errors of the test that are not of the process.
        """
        failed_at, ill_since = self._clock(), None
        with self._lock:
            if self._reason is not None:
                self._leave(self._reason)
                return False
            # One test will do for all that failed before it began, and no test for what fails later.
            if failed_at <= self._recovered_at or failed_at < self._well_at:
                return failed_at <= self._recovered_at
            while (error := self._error()) is not None:
                if ill_since is None:
                    _log.warning("this worker cannot %s: %r", self._able_to, error)
                    # From here on: the test may have waited for the engine, whose calls take their time.
                    ill_since = self._clock()
                if self._clock() - ill_since > self._ill_after_s:
                    self._reason = f"this worker cannot {self._able_to} any more: {error!r}"
                    self._leave(self._reason)
                    return False
                self._sleep(_PAUSE_S)
                self._recovered_at = self._clock()
            if ill_since is not None:
                _log.warning("this worker can %s again", self._able_to)
            return self._recovered_at >= failed_at

    def _error(self) -> Exception | None:
        began = self._clock()
        try:
            self._test()
        except self._not_of_this:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
            return error
        self._well_at = began
        return None


class Recovery:
    """Tests what a failure may be of, if it is one that may be of the process."""

    def __init__(self, *, engine: Health, storage: Health, disk: Health, outage: Health) -> None:
        """`engine` tests whether images can be made, the others whether storage and disk can be used.

        `outage` tests whether the storage answers at all, and waits for it.
        """
        self._engine = engine
        self._storage = storage
        self._disk = disk
        self._outage = outage

    def __call__(self, problem: NstError) -> bool:
        """Return whether what failed may go well now, as `Health.recovered` does; False for what has its reason."""
        if type(problem) in (NstError, EngineError):
            return self._engine.recovered()
        if isinstance(problem, BlobUnavailableError):
            return self._outage.recovered()
        if isinstance(problem, BlobAccessError | StorageCallerError):
            try:
                return self._storage.recovered()
            except BlobUnavailableError:
                return self._outage.recovered()
        return isinstance(problem, DiskError) and self._disk.recovered()
