"""Normalisations by kernels in C compute what torch's operations do, forward and backward."""

import pytest
import torch

from nst_core.nets.transformer import InstanceNorm
from tests.unit.nst_core.nets.native_kit import assert_native_and_near, called_kernels, needs_compiler, noise

__all__ = ["called_kernels"]  # a fixture


@needs_compiler
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("positions", [(1, 7), (37, 29), (64, 64)])
def test_an_instance_normalisation(relu: bool, positions: tuple[int, int], called: set[str]) -> None:
    layer = InstanceNorm(48)
    with torch.no_grad():
        layer.weight.copy_(noise(48, seed=1))
        layer.bias.copy_(noise(48, seed=2))
    x = 3 * noise(2, 48, *positions, seed=3) + 5
    assert_native_and_near(layer, x, {"normalize", "normalize_gradient"}, called, relu=relu)


@needs_compiler
@pytest.mark.parametrize("relu", [True, False])
def test_each_image_may_have_its_own_style(relu: bool, called: set[str]) -> None:
    layer = InstanceNorm(48, styles=4)
    with torch.no_grad():
        layer.weight.copy_(noise(4, 48, seed=1))
        layer.bias.copy_(noise(4, 48, seed=2))
    x, styles = 3 * noise(3, 48, 37, 29, seed=3) + 5, torch.tensor([3, 1, 3])
    kernels = {"normalize", "normalize_gradient"}
    assert_native_and_near(layer, x, kernels, called, styles=styles, relu=relu)


@needs_compiler
def test_a_channel_without_variance_gets_its_bias_and_no_gradient(called: set[str]) -> None:
    layer = InstanceNorm(16)
    torch.nn.init.constant_(layer.bias, 0.25)
    x = torch.full((1, 16, 9, 9), 0.1).requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    assert "normalize_gradient" in called
    assert torch.equal(y, torch.full_like(y, 0.25))
    assert x.grad is not None
    assert not x.grad.any()
