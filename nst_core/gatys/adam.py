"""Adam on the pixels of a picture, within 0 to 1; it returns to the last good picture if it diverges."""

import torch
from torch import Tensor

from nst_core.errors import ConfigError, EngineError
from nst_core.gatys.lbfgs import Evaluate

BETAS = (0.9, 0.999)
EPS = 1e-8
#: A step diverges if its loss exceeds the loss of the first picture by this factor.
DIVERGED = 2.0
#: Halvings of the learning rate in a row after which the optimisation fails.
RETREATS = 40


class Adam:
    """The picture, the loss and gradient there, and the moments (Kingma & Ba 2015, algorithm 1).

    Departures: pixels are clipped to 0 to 1 after each step, as in K. Crowson's style-transfer-pytorch. The gradient is
    divided by the root mean square of the first one, so that epsilon does not depend on the weights. A step to a
    picture that is far worse than the first one, or whose loss is not finite, is rejected: the picture stays, the
    moments are reset and the learning rate is halved.
    """

    def __init__(self, canvas: Tensor, *, evaluate: Evaluate, learning_rate: float) -> None:
        """Start at a picture, 1 x C x H x W, contiguous."""
        self.canvas = canvas
        self.parts: list[float] = []
        self.learning_rate = learning_rate
        self._evaluate = evaluate
        self._gradient: Tensor | None = None
        self._mean, self._square = torch.zeros_like(canvas), torch.zeros_like(canvas)
        self._count = 0
        self._unit = 1.0
        self._first_total = 0.0
        self._retreats = 0

    @property
    def total(self) -> float:
        return sum(self.parts)

    def step(self) -> None:
        """Move the picture once, and set the parts of its loss.

        Raises ConfigError if the first loss is not finite, EngineError if no learning rate is small enough.
        """
        if self._gradient is None:
            self._start()
        assert self._gradient is not None
        gradient = self._gradient / self._unit
        self._count += 1
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.lerp_(gradient.square(), 1 - BETAS[1])
        mean = self._mean / (1 - BETAS[0] ** self._count)
        root = (self._square / (1 - BETAS[1] ** self._count)).sqrt_().add_(EPS)
        canvas = torch.addcdiv(self.canvas, mean, root, value=-self.learning_rate).clamp_(0, 1)
        parts, gradient = self._evaluate(canvas)
        *new, size = torch.cat([parts, gradient.square().mean()[None]]).tolist()
        # If a value is NaN, the comparison is false.
        if sum(new) <= DIVERGED * self._first_total and size < float("inf"):
            self.canvas, self._gradient, self.parts, self._retreats = canvas, gradient, new, 0
            return
        self._retreats += 1
        if self._retreats > RETREATS:
            raise EngineError("The optimisation diverges, however small its steps are.")
        self.learning_rate /= 2
        self._count = 0
        self._mean.zero_()
        self._square.zero_()

    def _start(self) -> None:
        parts, gradient = self._evaluate(self.canvas)
        *self.parts, size = torch.cat([parts, gradient.square().mean()[None]]).tolist()
        if not self.total < float("inf") or not size < float("inf"):
            raise ConfigError("The loss of the first picture is not a finite number: the weights are too large.")
        self._gradient = gradient
        self._first_total = self.total
        self._unit = size**0.5 or 1.0

    def state(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, except the picture."""
        numbers = [self.learning_rate, self._count, self._unit, self._first_total, self._retreats, *self.parts]
        state = {
            "mean": self._mean,
            "square": self._square,
            "numbers": torch.tensor(numbers, dtype=torch.float64),
        }
        return state if self._gradient is None else state | {"gradient": self._gradient}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from a state of the same size of picture."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        rate, count, self._unit, self._first_total, retreats, *self.parts = state["numbers"].tolist()
        self.learning_rate, self._count, self._retreats = rate, int(count), int(retreats)
        # Before the first step there are neither parts nor a gradient.
        self._gradient = state["gradient"].to(self.canvas).view_as(self.canvas) if self.parts else None
