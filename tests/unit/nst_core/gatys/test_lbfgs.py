"""L-BFGS within 0 to 1: known minima, losses that never rise, and steps to non-finite losses."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.gatys.lbfgs import LBFGS, Evaluate
from nst_core.gatys.spectrum import Spectrum

pytestmark = pytest.mark.usefixtures("one_thread")

#: How much rounding may raise a loss, as a share of the loss.
ROUNDING = 2e-6


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def start(value: float = 0.5) -> Tensor:
    return torch.full((1, 3, 6, 7), value)


def function(loss: Callable[[Tensor], Tensor]) -> Evaluate:
    """Return a function of the flat picture as L-BFGS wants it."""

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = canvas.detach().requires_grad_()
            total = loss(x.flatten())
            (gradient,) = torch.autograd.grad(total, x)
        return total.detach()[None], gradient

    return evaluate


def descent(canvas: Tensor, evaluate: Evaluate, *, history: int = 10, learning_rate: float = 1.0) -> LBFGS:
    return LBFGS(canvas, evaluate=evaluate, history=history, learning_rate=learning_rate, refine=lambda: False)


def run(lbfgs: LBFGS, steps: int) -> list[float]:
    totals = []
    for _ in range(steps):
        lbfgs.step()
        totals.append(lbfgs.total)
    return totals


def assert_never_rises(totals: list[float]) -> None:
    for before, after in pairwise(totals):
        assert after <= before + ROUNDING * abs(before)


@pytest.mark.parametrize("history", [1, 3, 20])
def test_it_finds_the_minimum_of_a_quadratic_within_the_bounds(history: int) -> None:
    # For many pixels the free minimum is outside the bounds. The Hessian is diagonal, so those end at the bound.
    goal = 0.5 + normal(126)
    stiffness = torch.logspace(0, 2, 126)
    lbfgs = descent(start(), function(lambda x: (stiffness * (x - goal).square()).sum() / 2), history=history)
    totals = run(lbfgs, 300)
    torch.testing.assert_close(lbfgs.canvas.flatten(), goal.clamp(0, 1), rtol=0, atol=2e-3)
    assert_never_rises(totals)
    assert ((goal < 0) | (goal > 1)).any()


def test_it_finds_the_constrained_minimum_if_pixels_depend_on_each_other() -> None:
    root = normal(126, 126, seed=1) / 126**0.5
    matrix, goal = root.T @ root + 0.1 * torch.eye(126), 0.5 + normal(126, seed=2)
    lbfgs = descent(start(), function(lambda x: (x - goal) @ matrix @ (x - goal) / 2))
    totals = run(lbfgs, 400)
    x = lbfgs.canvas.flatten()
    slope = matrix @ (x - goal)
    # No pixel can move downhill within its bounds: the conditions of Karush, Kuhn and Tucker.
    assert (x - (x - slope).clamp(0, 1)).abs().max() < 5e-3
    assert ((x == 0) | (x == 1)).any()
    assert ((x > 0) & (x < 1)).any()
    assert_never_rises(totals)


def test_it_never_raises_a_loss_that_is_not_convex() -> None:
    weights = normal(64, 126, seed=3)
    lbfgs = descent(start(), function(lambda x: (weights @ x).sin().sum() + 10 * (x - 0.3).square().sum()))
    totals = run(lbfgs, 60)
    assert_never_rises(totals)
    assert totals[-1] < totals[0] - 1
    assert ((lbfgs.canvas >= 0) & (lbfgs.canvas <= 1)).all()


@pytest.mark.parametrize("learning_rate", [1e-6, 0.1, 1.0])
def test_the_loss_falls_at_any_learning_rate(learning_rate: float) -> None:
    goal = 0.5 + 0.2 * normal(126)
    evaluate = function(lambda x: (x - goal).square().sum())
    lbfgs = descent(start(), evaluate, learning_rate=learning_rate)
    first = evaluate(start())[0].item()
    totals = run(lbfgs, 20)
    assert totals[-1] < first
    assert_never_rises(totals)


@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1e-10, 1e10])
def test_the_size_of_a_loss_does_not_matter(factor: float) -> None:
    # The squared length of a gradient of 1e-30 is 0 in float32.
    goal = 0.5 + 0.2 * normal(126)
    evaluate = function(lambda x: factor * (x - goal).square().sum())
    lbfgs = descent(start(), evaluate)
    totals = run(lbfgs, 12)
    assert lbfgs.canvas.isfinite().all()
    assert totals[-1] <= evaluate(start())[0].item()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_to_a_non_finite_loss_is_shortened(bad: float, where: str) -> None:
    goal = torch.full((126,), 0.9)
    smooth = function(lambda x: (x - goal).square().sum())
    tried = []

    def walled(canvas: Tensor) -> tuple[Tensor, Tensor]:
        parts, gradient = smooth(canvas)
        inside = bool((canvas < 0.505).all())
        tried.append(inside)
        if inside:
            return parts, gradient
        return (parts + bad, gradient) if where == "loss" else (parts, gradient + bad)

    lbfgs = descent(start(), walled)
    totals = run(lbfgs, 2)
    assert tried[:2] == [True, False]
    assert lbfgs.canvas.isfinite().all()
    assert (lbfgs.canvas > 0.5).all()
    assert (lbfgs.canvas < 0.505).all()
    assert totals[1] <= totals[0] < smooth(start())[0].item()


def test_an_optimal_picture_is_unchanged() -> None:
    lbfgs = descent(start(), function(lambda x: (x - 0.5).square().sum()))
    assert run(lbfgs, 3) == [0, 0, 0]
    assert torch.equal(lbfgs.canvas, start())


def test_pixels_that_would_leave_their_bounds_are_held() -> None:
    lbfgs = descent(start(1.0), function(lambda x: -x.sum()))
    totals = run(lbfgs, 4)
    assert torch.equal(lbfgs.canvas, start(1.0))
    assert totals == [-126] * 4


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_a_first_loss_or_slope_that_is_not_finite_is_refused(value: float) -> None:
    lbfgs = descent(start(), function(lambda x: (value * x).sum()))
    with pytest.raises(ConfigError, match="weights are too large"):
        lbfgs.step()


def test_it_requests_more_precision_when_no_step_helps_and_continues() -> None:
    goal = torch.full((126,), 0.52)
    exact = function(lambda x: (x - goal).square().sum())
    coarse = [True]

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        parts, gradient = exact(canvas)
        return (parts, -gradient) if coarse[0] else (parts, gradient)

    def refine() -> bool:
        before = coarse[0]
        coarse[0] = False
        return before

    lbfgs = LBFGS(start(), evaluate=evaluate, history=5, learning_rate=1.0, refine=refine)
    run(lbfgs, 40)
    assert coarse == [False]
    torch.testing.assert_close(lbfgs.canvas.flatten(), goal, rtol=0, atol=1e-3)


@pytest.mark.parametrize("before", [0, 1, 3, 30])
def test_a_restored_optimiser_continues_bit_for_bit(before: int) -> None:
    matrix, goal = torch.logspace(0, 2, 126), 0.5 + normal(126)
    evaluate = function(lambda x: (matrix * (x - goal).square()).sum() + (5 * x).sin().sum())
    straight = descent(start(), evaluate, history=4)
    run(straight, before)
    resumed = descent(straight.canvas.clone(), evaluate, history=4)
    resumed.restore({key: value.clone() for key, value in straight.state().items()})
    assert run(resumed, 12) == run(straight, 12)
    assert torch.equal(resumed.canvas, straight.canvas)


def test_a_restored_optimiser_of_brightness_alone_continues_bit_for_bit() -> None:
    goal = 0.5 + normal(1, 1, 7, 9, seed=2).flatten()
    evaluate = function(lambda x: (torch.logspace(0, 2, 63) * (x - goal).square()).sum())
    first = torch.full((1, 1, 7, 9), 0.5)
    straight = descent(first, evaluate, history=4)
    run(straight, 6)
    resumed = descent(straight.canvas.clone(), evaluate, history=4)
    resumed.restore({key: value.clone() for key, value in straight.state().items()})
    assert run(resumed, 6) == run(straight, 6)


def test_a_state_from_before_the_spectrum_is_incomplete() -> None:
    lbfgs = descent(start(), function(lambda x: (x - 0.4).square().sum()))
    run(lbfgs, 2)
    state = {key: value for key, value in lbfgs.state().items() if key not in ("spectrum", "scale")}
    with pytest.raises(KeyError):
        descent(start(), function(lambda x: x.sum())).restore(state)


@pytest.mark.parametrize("power", [-0.5, 0.5, 1.0])
def test_its_first_guess_learns_losses_that_change_faster_with_some_frequencies(
    power: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = (0.5 + 0.1 * normal(1, 3, 32, 32)).flatten()
    frequencies = torch.hypot(torch.fft.fftfreq(32)[:, None], torch.fft.rfftfreq(32)[None])

    def loss(x: Tensor) -> Tensor:
        difference = torch.fft.rfft2((x - goal).view(3, 32, 32), norm="ortho")
        total: Tensor = (difference.abs().square() * (0.01 + frequencies).pow(power)).sum()
        return total

    def left_after(steps: int) -> float:
        return run(descent(torch.full((1, 3, 32, 32), 0.5), function(loss)), steps)[-1]

    ours = left_after(12)
    monkeypatch.setattr(Spectrum, "smoothed", lambda self, x: x)
    monkeypatch.setattr(Spectrum, "learn", lambda self, step, change: change.square().sum())
    assert ours < 0.7 * left_after(12)
