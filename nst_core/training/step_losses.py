"""The losses of one training step. Never loads torch."""

from dataclasses import dataclass, field


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
    learning_rate: float = 0.0
    #: How long the step took; no part of the result.
    seconds: float = field(default=0.0, compare=False)

    @property
    def total(self) -> float:
        return self.content + self.style + self.tv + self.stability + self.shift
