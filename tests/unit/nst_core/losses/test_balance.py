"""Gradients of chosen length."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.balance import balanced_weights, gradient_norm, rescale_gradient
from tests.unit.nst_core.losses.samples import normal, variable

pytestmark = pytest.mark.usefixtures("one_thread")


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, at)
    return result


def test_the_norm_is_that_of_the_gradient_and_leaves_the_graph() -> None:
    x = variable(normal(2, 3, 4, 5))
    loss = (3 * x).sum()
    norm = gradient_norm(loss, x)
    assert norm.item() == pytest.approx(3 * 120**0.5)
    assert not norm.requires_grad
    assert x.grad is None
    torch.autograd.backward(loss)


def test_values_do_not_change() -> None:
    x = variable(normal(2, 3, 4, 5))
    assert torch.equal(rescale_gradient(x, norm=0.1), x)


def test_a_long_gradient_is_clipped_and_keeps_its_direction() -> None:
    x = variable(normal(2, 3, 4, 5))
    raw = gradient(x.square().sum(), x)
    ours = gradient(rescale_gradient(x, norm=0.5).square().sum(), x)
    torch.testing.assert_close(ours, 0.5 * raw / raw.norm())


def test_a_short_gradient_is_left_alone_by_clipping() -> None:
    x = variable(normal(2, 3, 4, 5))
    raw = gradient(x.square().sum(), x)
    assert torch.equal(gradient(rescale_gradient(x, norm=1000.0).square().sum(), x), raw)


@pytest.mark.parametrize("norm", [0.25, 1000.0])
def test_a_gradient_can_be_set_to_a_length_either_way(norm: float) -> None:
    x = variable(normal(2, 3, 4, 5))
    raw = gradient(x.square().sum(), x)
    ours = gradient(rescale_gradient(x, norm=norm, mode="set").square().sum(), x)
    torch.testing.assert_close(ours, norm * raw / raw.norm())


@pytest.mark.parametrize("mode", ["clip", "set"])
def test_a_gradient_of_zeros_stays_so(mode: str) -> None:
    x = variable(torch.zeros(1, 3, 4, 5))
    ours = gradient(rescale_gradient(x, norm=1.0, mode=mode).square().sum(), x)  # type: ignore[arg-type]
    assert torch.equal(ours, torch.zeros_like(x))


def test_each_use_is_rescaled_alone() -> None:
    x = variable(normal(1, 3, 4, 5))
    a, b = gradient(x.square().sum(), x), gradient(x.pow(3).sum(), x)
    reference = gradient_norm(x.square().sum(), x)
    total = x.square().sum() + rescale_gradient(x, norm=0.5 * reference, mode="set").pow(3).sum()
    torch.testing.assert_close(gradient(total, x), a + 0.5 * a.norm() * b / b.norm())


def test_narrow_gradients_are_measured_in_float32() -> None:
    x = variable(torch.ones(1, 4, 64, 64, dtype=torch.float16))
    ours = gradient((1000 * rescale_gradient(x, norm=1.0)).float().sum(), x)  # its squares exceed float16
    assert ours.dtype == torch.float16
    assert ours.float().norm().item() == pytest.approx(1, rel=1e-3)


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="clip, set"):
        rescale_gradient(normal(1), norm=1.0, mode="grow")  # type: ignore[arg-type]


def test_weights_bring_gradients_into_ratio() -> None:
    x = variable(normal(1, 3, 4, 5))
    losses = {"content": x.square().sum(), "style": 1e9 * x.pow(4).sum(), "tv": 1e-9 * x.sum()}
    weights = balanced_weights(losses, at=x, reference="content", ratios={"style": 2.0})
    norms = {name: weights[name] * gradient_norm(loss, x).item() for name, loss in losses.items()}
    assert weights["content"] == 1
    assert norms["style"] == pytest.approx(2 * norms["content"])
    assert norms["tv"] == pytest.approx(norms["content"])


def test_a_loss_without_gradient_has_no_weight() -> None:
    x = variable(normal(1, 3, 4, 5))
    losses = {"content": x.square().sum(), "style": 0 * x.sum()}
    assert balanced_weights(losses, at=x, reference="content", ratios={}) == {"content": 1, "style": 0}
    assert balanced_weights(losses, at=x, reference="style", ratios={}) == {"content": 0, "style": 0}


@pytest.mark.parametrize(("reference", "ratios"), [("style", {}), ("content", {"style": 1.0})])
def test_unknown_names_are_refused(reference: str, ratios: dict[str, float]) -> None:
    x = variable(normal(1))
    with pytest.raises(ConfigError, match="No loss is named style"):
        balanced_weights({"content": x.sum()}, at=x, reference=reference, ratios=ratios)
