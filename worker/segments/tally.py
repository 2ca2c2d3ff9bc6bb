"""The progress of a training: its recent losses and its speed."""

from collections import deque
from math import isfinite
from statistics import fmean
from time import monotonic

from nst_core.clock import Clock
from nst_core.protocol.events import TrainProgress
from nst_core.training.step_losses import TERMS, StepLosses

#: Steps to average over: the losses of one step depend on its photos, and its time on other work in between.
LAST_STEPS = 20
_TERMS = (*TERMS, "total")


class Tally:
    """Computes means over the last steps."""

    def __init__(self, *, clock: Clock = monotonic) -> None:
        """Start without any step."""
        self._clock = clock
        self._losses: deque[StepLosses] = deque(maxlen=LAST_STEPS)
        self._ends: deque[float] = deque(maxlen=LAST_STEPS + 1)
        self._steps_per_s = 0.0

    def begin(self) -> None:
        """Continue after a pause, which does not count for the speed."""
        self._ends.clear()

    def add(self, losses: StepLosses) -> None:
        """Add a step that has just ended."""
        self._losses.append(losses)
        self._ends.append(self._clock())
        # From the end of one step to the end of another: the first step may have waited for the compiler.
        if (seconds := self._ends[-1] - self._ends[0]) > 0:
            self._steps_per_s = (len(self._ends) - 1) / seconds

    def progress(self, step: int, *, note: str = "") -> TrainProgress:
        """Return the progress of a run after `step` steps."""
        means = {name: fmean(getattr(each, name) for each in self._losses) for name in _TERMS if self._losses}
        losses = {name: float(f"{mean:.6g}") for name, mean in means.items() if isfinite(mean)}
        return TrainProgress(step=step, losses=losses, steps_per_s=self._steps_per_s, note=note)
