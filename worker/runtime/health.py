"""Health checks: whether this process can still work. They run after a failure that the process may have caused.

A process may be broken for good and still answer: after a CUDA error that stays, after an import that ran out of memory
and left half a module behind, when its credentials have expired, or when its disk is full. It would fail every image
immediately, and so take more images than all healthy workers.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from threading import Lock

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
from nst_core.images import Limits, Picture
from nst_core.inference.stylizer import Stylizer
from worker.runtime.engine import Engine
from worker.runtime.signs import give_sign

_log = logging.getLogger(__name__)
_SIDE_PX = 64
#: Mean difference of two results, in grey levels, above which a network is broken. Smaller differences are rounding:
#: torch may choose another algorithm.
_TOLERANCE = 1.0
_PAUSE_S = 1.0


class SelfTest:
    """Decodes, stylizes and encodes a small picture, which must come out as it did the first time."""

    def __init__(self, load: Callable[[], Stylizer], *, engine: Engine, timeout_s: float = 600.0) -> None:
        """Load the network at the first call, which also imports what torch and Pillow import late.

        The test also fails if a call of the engine, its own or one before it, makes no progress for `timeout_s`.
        """
        self._timeout_s = timeout_s
        self._load = load
        self._stylize: Stylizer | None = None
        self._engine = engine
        rows, columns = np.mgrid[0:_SIDE_PX, 0:_SIDE_PX]
        rgb = np.stack((rows * 4, columns * 4, (rows * columns) % 256), axis=-1).astype(np.uint8)
        self._photo = Picture(rgb=rgb, alpha=None)
        self._widths_px: Iterator[int] | None = None
        self._first: NDArray[np.uint8] | None = None

    def __call__(self) -> None:
        """Raise whatever error occurs, and EngineError if the result has changed."""
        if self._stylize is None or self._widths_px is None:
            self._stylize = self._load()
            self._widths_px = cycle(range(self._stylize.min_side_px, _SIDE_PX))
        stylize = self._stylize
        data = images.encode(self._photo, ".png", quality=90)
        photo = decoder.decode(data, Limits(max_pixels=_SIDE_PX**2))
        result = self._compute(stylize, photo.rgb)[0]
        # Another size each time: kernels that are compiled already may work although no new one can be compiled.
        self._compute(stylize, photo.rgb[:, : next(self._widths_px)])
        images.encode(Picture(rgb=result, alpha=None), ".jpg", quality=90)
        if self._first is None:
            self._first = result
        difference = np.abs(result.astype(np.float32) - self._first).mean()
        if difference > _TOLERANCE:
            raise EngineError(f"A network no longer computes what it did: {difference:.1f} grey levels of difference.")

    def _compute(self, stylize: Stylizer, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the result for one photo, as a batch."""
        return self._engine.run(lambda: stylize(rgb[np.newaxis]), lane="self-test", waits=self._check_engine)

    def _check_engine(self) -> None:
        """Raise TimeoutError if the engine is stuck. A large photo before the test may take as long as it needs."""
        give_sign()
        if (busy_s := self._engine.busy_s) > self._timeout_s:
            raise TimeoutError(f"the engine has run one call for {busy_s:.0f} s")


class Health:
    """Tells failures of the work from failures of the process, and ends a process that does not recover."""

    def __init__(
        self,
        test: Callable[[], None],
        *,
        ill_after_s: float,
        leave: Callable[[str], object],
        able_to: str = "make an image",
        not_of_this: tuple[type[Exception], ...] = (BlobUnavailableError,),
        on_change: Callable[[bool], object] = lambda ill: None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`test` raises if the process cannot do what it must be `able_to`; `leave` ends the process for a reason.

        Errors of the test that are `not_of_this` are raised, because they say nothing about the process. `on_change` is
        called with True when the process fails the test, and with False when it can work again.
        """
        self._test = test
        self._ill_after_s = ill_after_s
        self._leave = leave
        self._able_to = able_to
        self._not_of_this = not_of_this
        self._on_change = on_change
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._recovered_at = -float("inf")
        #: When the last successful test began.
        self._well_at = -float("inf")
        self._reason: str | None = None

    def recovered(self) -> bool:
        """Return whether a retry may succeed, because the process was broken and has recovered.

        Returns False if the process was well all the time: then the work itself is to blame. Waits while the process
        is broken, and ends it after a while. Raises the errors of the test that are `not_of_this`.
        """
        failed_at, ill_since = self._clock(), None
        with self._turn():
            if self._reason is not None:
                self._leave(self._reason)
                return False
            # One test answers for everything that failed before it began, and for nothing that fails later.
            if failed_at <= self._recovered_at or failed_at < self._well_at:
                return failed_at <= self._recovered_at
            while (error := self._error()) is not None:
                if ill_since is None:
                    _log.warning("this worker cannot %s: %r", self._able_to, error)
                    self._on_change(True)
                    # From now on: the test may have waited for long calls of the engine.
                    ill_since = self._clock()
                if self._clock() - ill_since > self._ill_after_s:
                    self._reason = f"this worker cannot {self._able_to} any more: {error!r}"
                    self._leave(self._reason)
                    return False
                give_sign()
                self._sleep(_PAUSE_S)
                self._recovered_at = self._clock()
            if ill_since is not None:
                _log.warning("this worker can %s again", self._able_to)
                self._on_change(False)
            return self._recovered_at >= failed_at

    @contextmanager
    def _turn(self) -> Iterator[None]:
        while not self._lock.acquire(timeout=_PAUSE_S):
            give_sign()
        try:
            yield
        finally:
            self._lock.release()

    def _error(self) -> Exception | None:
        began = self._clock()
        try:
            self._test()
        except self._not_of_this:
            raise
        except Exception as error:  # noqa: BLE001 - any error is a failed test
            return error
        self._well_at = began
        return None


class Recovery:
    """Runs the test that fits a failure, if the process may have caused it."""

    def __init__(self, *, engine: Health, storage: Health, disk: Health, outage: Health) -> None:
        """`engine` tests whether images can be made, `storage` and `disk` whether these can be used.

        `outage` tests whether the storage answers at all, and waits for it.
        """
        self._engine = engine
        self._storage = storage
        self._disk = disk
        self._outage = outage

    def __call__(self, problem: NstError) -> bool:
        """Return whether a retry may succeed, as `Health.recovered` does; False if the work itself is to blame."""
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
