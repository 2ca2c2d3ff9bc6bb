"""The losses of one training step. Never loads torch."""

from dataclasses import dataclass, field

#: The terms of the loss, in the order in which an objective returns them.
TERMS = ("content", "style", "tv", "stability", "shift", "grid")


@dataclass(frozen=True, kw_only=True)
class StepLosses:
    """The weighted losses of one training step; they sum to the quantity that is minimised."""

    #: The number of completed steps, from 1.
    step: int
    content: float
    style: float
    tv: float
    stability: float = 0.0
    shift: float = 0.0
    grid: float = 0.0
    learning_rate: float = 0.0
    #: How long the step took; no part of the result.
    seconds: float = field(default=0.0, compare=False)

    @property
    def total(self) -> float:
        return float(sum(getattr(self, term) for term in TERMS))
