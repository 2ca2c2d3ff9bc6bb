"""Adam within 0 to 1: known minima, and recovery from divergence."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError, EngineError
from nst_core.gatys.adam import RETREATS, Adam
from tests.unit.nst_core.gatys.test_lbfgs import function, normal, start

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("weight", [1e-12, 1.0, 1e12])
def test_it_finds_the_minimum_of_a_quadratic_within_the_bounds_at_any_weight(weight: float) -> None:
    goal = 0.5 + normal(126)
    adam = Adam(start(), evaluate=function(lambda x: weight * (x - goal).square().sum()), learning_rate=0.02)
    for _ in range(300):
        adam.step()
    torch.testing.assert_close(adam.canvas.flatten(), goal.clamp(0, 1), rtol=0, atol=0.01)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_a_step_to_a_non_finite_or_much_worse_loss_is_not_taken(bad: float) -> None:
    goal = torch.full((126,), 0.9)
    smooth = function(lambda x: (x - goal).square().sum())

    def walled(canvas: Tensor) -> tuple[Tensor, Tensor]:
        parts, gradient = smooth(canvas)
        return (parts if (canvas < 0.6).all() else parts + bad), gradient

    adam = Adam(start(), evaluate=walled, learning_rate=0.5)
    adam.step()
    assert torch.equal(adam.canvas, start())
    assert adam.learning_rate == 0.25
    for _ in range(20):
        adam.step()
        assert adam.total < float("inf")
    assert adam.canvas.min() > 0.5
    assert adam.canvas.max() < 0.6


def test_it_gives_up_if_no_step_is_small_enough() -> None:
    smooth = function(lambda x: (x - 0.9).square().sum())

    def walled(canvas: Tensor) -> tuple[Tensor, Tensor]:
        parts, gradient = smooth(canvas)
        return parts + (0 if (canvas == 0).all() else torch.nan), gradient

    adam = Adam(start(0.0), evaluate=walled, learning_rate=1.0)
    for _ in range(RETREATS):
        adam.step()
    with pytest.raises(EngineError, match="diverges"):
        adam.step()
    assert torch.equal(adam.canvas, start(0.0))


def test_a_first_loss_that_is_not_finite_is_refused() -> None:
    adam = Adam(start(), evaluate=function(lambda x: (x * torch.nan).sum()), learning_rate=0.02)
    with pytest.raises(ConfigError, match="weights are too large"):
        adam.step()


def test_a_picture_with_zero_gradient_is_unchanged() -> None:
    adam = Adam(start(), evaluate=function(lambda x: 0 * x.sum()), learning_rate=0.02)
    for _ in range(3):
        adam.step()
    assert torch.equal(adam.canvas, start())
