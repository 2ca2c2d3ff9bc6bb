"""How a training goes: its last losses and its speed."""

from collections import deque
from math import isfinite
from statistics import fmean
from time import monotonic

from nst_core.clock import Clock
from nst_core.protocol.events import TrainProgress
from nst_core.training.step_losses import StepLosses

#: The losses of one step depend on its photos, and its time on the work that comes in between.
LAST_STEPS = 20
_TERMS = ("content", "style", "tv", "stability", "shift", "total")


class Tally:
    """Means over the last steps."""

    def __init__(self, *, clock: Clock = monotonic) -> None:
        """Nothing is known yet."""
        self._clock = clock
        self._losses: deque[StepLosses] = deque(maxlen=LAST_STEPS)
        self._ends: deque[float] = deque(maxlen=LAST_STEPS + 1)
        self._steps_per_s = 0.0

    def begin(self) -> None:
        """Go on after a pause, which has no part in the speed."""
        self._ends.clear()

    def add(self, losses: StepLosses) -> None:
        """Take note of a step that has just ended."""
        self._losses.append(losses)
        self._ends.append(self._clock())
        # From the end of one step to that of another: the first of them may have waited for a compiler.
        if (seconds := self._ends[-1] - self._ends[0]) > 0:
            self._steps_per_s = (len(self._ends) - 1) / seconds

    def progress(self, step: int, *, note: str = "") -> TrainProgress:
        """Return how far a run has come that has done so many steps."""
        means = {name: fmean(getattr(each, name) for each in self._losses) for name in _TERMS if self._losses}
        losses = {name: float(f"{mean:.6g}") for name, mean in means.items() if isfinite(mean)}
        return TrainProgress(step=step, losses=losses, steps_per_s=self._steps_per_s, note=note)
