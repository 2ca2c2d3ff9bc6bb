"""Weights that give gradients a chosen length."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.balance import balanced_weights, gradient_norm
from tests.unit.nst_core.losses.samples import normal, variable

pytestmark = pytest.mark.usefixtures("one_thread")


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, at)
    return result


def test_the_norm_is_that_of_the_gradient_and_keeps_the_graph() -> None:
    x = variable(normal(2, 3, 4, 5))
    loss = (3 * x).sum()
    norm = gradient_norm(loss, x)
    assert norm.item() == pytest.approx(3 * 120**0.5)
    assert not norm.requires_grad
    assert x.grad is None
    torch.autograd.backward(loss)


def norms(losses: dict[str, Tensor], at: Tensor) -> dict[str, float]:
    return {name: gradient_norm(loss, at).item() for name, loss in losses.items()}


def test_weights_give_gradients_the_chosen_ratio() -> None:
    x = variable(normal(1, 3, 4, 5))
    losses = {"content": x.square().sum(), "style": 1e9 * x.pow(4).sum(), "tv": 1e-9 * x.sum()}
    weights = balanced_weights(norms(losses, x), reference="content", ratios={"style": 2.0})
    weighted = norms({name: weights[name] * loss for name, loss in losses.items()}, x)
    assert weights["content"] == 1
    assert weighted["style"] == pytest.approx(2 * weighted["content"])
    assert weighted["tv"] == pytest.approx(weighted["content"])


def test_a_loss_without_gradient_has_no_weight() -> None:
    x = variable(normal(1, 3, 4, 5))
    lengths = norms({"content": x.square().sum(), "style": 0 * x.sum()}, x)
    assert balanced_weights(lengths, reference="content", ratios={}) == {"content": 1, "style": 0}
    assert balanced_weights(lengths, reference="style", ratios={}) == {"content": 0, "style": 0}


@pytest.mark.parametrize(("reference", "ratios"), [("style", {}), ("content", {"style": 1.0})])
def test_unknown_names_are_refused(reference: str, ratios: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="No loss is named style"):
        balanced_weights({"content": 1.0}, reference=reference, ratios=ratios)
