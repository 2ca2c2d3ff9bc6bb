"""L-BFGS on the pixels of a picture, within 0 to 1, with a line search.

Nocedal & Wright, "Numerical Optimization" (2006): the two-loop recursion is algorithm 7.4, and the sufficient decrease
is equation 3.4. Projection keeps pixels within their range (Bertsekas 1982, "Projected Newton Methods"): a pixel at a
bound that would cross it is held during the step, and all others are clipped afterwards. Most programs clip the result
of an unbounded optimisation instead, which makes the loss worse again.

The first guess of the inverse Hessian, to which the recursion adds what it has seen, is not a multiple of the identity:
it has a number for each band of frequencies and each colour, which `Spectrum` learns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.gatys.spectrum import Spectrum

#: Maps a picture to the parts of its loss, P, and the gradient of their sum.
Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]

#: The number of steps that are tried in one direction.
TRIALS = 6
#: A step must reach this fraction of the predicted decrease.
SUFFICIENT = 1e-4
#: A loss may rise by this fraction, its rounding error in float32.
ROUNDING = 1e-6
#: How far pixels may move in a step, as root mean square. At the start, far from any minimum, the quasi-Newton step is
#: often much longer, and most evaluations would only shorten it.
MAX_MOVE = 0.05


class LBFGS:
    """The picture, its loss and gradient, and the last steps with their changes of the gradient.

    Except for rounding, a step never makes the loss worse. If no step in a direction helps, the history is dropped. If
    no step along the gradient helps either, further steps do nothing. Most steps take one evaluation.
    """

    def __init__(
        self, canvas: Tensor, *, evaluate: Evaluate, history: int, learning_rate: float, refine: Callable[[], bool]
    ) -> None:
        """Start at a picture, 1 x C x H x W, contiguous.

        `refine` is called when no step helps: it makes `evaluate` more exact and returns whether that was possible.
        """
        self.canvas = canvas
        self.parts: list[float] = []
        self._evaluate = evaluate
        self._refine = refine
        self._learning_rate = learning_rate
        self._gradient: Tensor | None = None
        self._slope = 0.0  # squared length of the gradient
        self._scale = canvas.new_ones(())  # of the first guess of the inverse Hessian
        self._spectrum = Spectrum(canvas)
        self._converged = False
        # Ring buffers: pair number k is in row k % history.
        shape = (history, canvas.numel())
        self._steps, self._changes = canvas.new_empty(shape), canvas.new_empty(shape)
        self._inverses = canvas.new_empty(history)  # 1 / (step . change) of each pair
        self._pairs = 0  # the number of pairs that were ever stored
        self._oldest = 0

    @property
    def total(self) -> float:
        return sum(self.parts)

    def step(self) -> None:
        """Move the picture once and set the parts of its loss; raise ConfigError if the first loss is not finite."""
        if self._gradient is None:
            self._start()
        if self._converged or self._search():
            return
        if self._refine():
            self._forget()
            self._start()
        elif self._pairs > self._oldest:
            self._forget()
        else:
            self._converged = True

    def renew(self) -> None:
        """Evaluate the picture again, after `evaluate` has become that of a similar loss.

        The history stays: each pair has both gradients from one loss.
        """
        self._start()

    def _start(self) -> None:
        parts, gradient = self._evaluate(self.canvas)
        *self.parts, self._slope = torch.cat([parts, gradient.square().sum()[None]]).tolist()
        if not _finite(self.total) or not _finite(self._slope):
            raise ConfigError("The loss of the first picture is not a finite number: the weights are too large.")
        self._gradient = gradient
        self._converged = self._slope == 0

    def _search(self) -> bool:
        """Try shorter and shorter steps in a direction; return whether one was taken."""
        assert self._gradient is not None
        direction, length = self._direction(self._gradient), 1.0
        for _ in range(TRIALS):
            canvas = torch.add(self.canvas, direction, alpha=length).clamp_(0, 1)
            parts, gradient = self._evaluate(canvas)
            step, change = canvas - self.canvas, gradient - self._gradient
            pairs = ((self._gradient, step), (step, change), (change, change), (step, step), (gradient, gradient))
            products = torch.stack([a.flatten().dot(b.flatten()) for a, b in pairs])
            *new, promise, curvature, roughness, distance, slope = torch.cat([parts, products]).tolist()
            total = sum(new)
            # Because of held and clipped pixels, the gradient may predict a rise, but the loss must not rise.
            goal = self.total + SUFFICIENT * min(promise, 0.0) + ROUNDING * abs(self.total)
            if _finite(total) and _finite(slope) and total <= goal and distance > 0:
                if roughness > 0 and curvature > 1e-8 * (roughness * distance) ** 0.5:
                    self._remember(step, change, curvature)
                self.canvas, self._gradient, self.parts, self._slope = canvas, gradient, new, slope
                return True
            length *= _shorter(total - self.total, promise)
        return False

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return the step to try first: the quasi-Newton step, shortened to the largest move of pixels."""
        held = ((self.canvas <= 0) & (gradient > 0)) | ((self.canvas >= 1) & (gradient < 0))
        q = gradient.masked_fill(held, 0).flatten()
        rows = [k % len(self._inverses) for k in range(self._oldest, self._pairs)]
        alphas = []
        for row in reversed(rows):
            alpha = self._inverses[row] * self._steps[row].dot(q)
            q.addcmul_(self._changes[row], alpha, value=-1)
            alphas.append(alpha)
        q = self._spectrum.smoothed(q.view_as(gradient)).flatten().mul_(self._scale)
        for row, alpha in zip(rows, reversed(alphas), strict=True):
            q.addcmul_(self._steps[row], alpha - self._inverses[row] * self._changes[row].dot(q))
        direction = q.neg_().view_as(gradient).masked_fill_(held, 0)
        # The length stays on the device, so that the host does not wait for it.
        most = MAX_MOVE * (direction.numel() / direction.square().sum()).sqrt()
        return direction * (most.clamp_max(self._learning_rate) if rows else most)

    def _remember(self, step: Tensor, change: Tensor, curvature: float) -> None:
        row = self._pairs % len(self._inverses)
        self._steps[row], self._changes[row], self._inverses[row] = step.flatten(), change.flatten(), 1 / curvature
        self._scale = curvature / self._spectrum.learn(step, change)
        self._pairs += 1
        self._oldest = max(self._oldest, self._pairs - len(self._inverses))

    def _forget(self) -> None:
        self._oldest = self._pairs
        self._scale = torch.ones_like(self._scale)

    def state(self) -> dict[str, Tensor]:
        """Return all that the next step depends on, besides the picture."""
        # The ring buffers as they are, because sorting their rows by time would need a copy.
        used = min(self._pairs, len(self._inverses))
        state = {
            "steps": self._steps[:used],
            "changes": self._changes[:used],
            "inverses": self._inverses[:used],
            "ring": torch.tensor([self._oldest, self._pairs]),
            "spectrum": self._spectrum.sums,
            "scale": self._scale,
            "numbers": torch.tensor([self._slope, self._converged, *self.parts], dtype=torch.float64),
        }
        return state if self._gradient is None else state | {"gradient": self._gradient}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from a state of the same size of picture and history; its gradient is taken over, not copied."""
        count = len(state["inverses"])
        self._steps[:count], self._changes[:count] = state["steps"], state["changes"]
        self._inverses[:count] = state["inverses"]
        self._oldest, self._pairs = state["ring"].tolist()
        self._slope, converged, *self.parts = state["numbers"].tolist()
        self._scale = state["scale"].to(self.canvas)
        if state["spectrum"].any():
            self._spectrum.restore(state["spectrum"].to(self.canvas))
        self._converged = bool(converged)
        # Before the first step there are neither parts nor a gradient.
        self._gradient = state["gradient"].to(self.canvas).view_as(self.canvas) if self.parts else None


def _finite(value: float) -> bool:
    return abs(value) < float("inf")  # false for NaN too


def _shorter(rise: float, promise: float) -> float:
    """Return the factor that shortens a step to the minimum of the parabola with both losses and the slope."""
    if not _finite(rise) or rise <= promise:
        return 0.1 if not _finite(rise) else 0.5
    return min(0.5, max(0.1, promise / (2 * (promise - rise))))
