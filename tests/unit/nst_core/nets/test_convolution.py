"""Convolutions by kernels in C compute what torch's own do, forward and backward."""

import pytest
import torch

from nst_core.nets.convolution import FrozenConv2d
from nst_core.nets.operators import ReflectConv2d
from tests.unit.nst_core.nets.native_kit import assert_native_and_near, called_kernels, needs_compiler, noise

__all__ = ["called_kernels"]  # a fixture


@needs_compiler
@pytest.mark.parametrize(("height", "width"), [(37, 29), (8, 64), (3, 5), (1, 1)])
@pytest.mark.parametrize(("c_in", "c_out"), [(16, 16), (32, 48), (256, 64)])
@pytest.mark.parametrize(("rectify", "relu"), [(False, True), (False, False), (True, False)])
@pytest.mark.parametrize("integers", [False, True])
def test_a_frozen_convolution(
    height: int, width: int, c_in: int, c_out: int, rectify: bool, relu: bool, integers: bool, called: set[str]
) -> None:
    torch.manual_seed(1)
    layer = FrozenConv2d(c_in, c_out).requires_grad_(False)
    # A ReLU whose input is near zero may round to either side, which would change the gradient.
    layer.bias.fill_(8.0)  # type: ignore[union-attr]
    layer.bias[::2] = -8.0  # type: ignore[index]
    kernels = {"winograd", "transform_kernels"}
    x = noise(2, c_in, height, width, seed=2)
    assert_native_and_near(layer, x, kernels, called, integers=integers, rectify=rectify, relu=relu, fast=True)


@needs_compiler
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("integers", [False, True])
def test_a_frozen_convolution_of_a_picture(relu: bool, integers: bool, called: set[str]) -> None:
    torch.manual_seed(1)
    layer = FrozenConv2d(3, 48).requires_grad_(False)
    layer.bias[:] = torch.tensor([8.0, -8.0]).repeat(24)  # type: ignore[index]
    x = noise(2, 3, 21, 34, seed=2)
    assert_native_and_near(layer, x, {"winograd"}, called, integers=integers, relu=relu, fast=True)


@needs_compiler
@pytest.mark.parametrize(
    ("c_in", "c_out", "side", "stride", "kernel"),
    [
        (32, 48, 3, 1, "kernel_gradient"),
        (3, 32, 9, 1, "convolve_photo"),
        (32, 3, 9, 1, "convolve_to_picture"),
        (48, 3, 9, 1, "direct_kernel_gradient"),
        (32, 64, 3, 2, "direct_kernel_gradient"),
        (16, 16, 5, 2, "direct_kernel_gradient"),
        (3, 16, 5, 1, "direct_kernel_gradient"),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(37, 30), (16, 17)])
@pytest.mark.parametrize("integers", [False, True])
def test_a_trained_convolution(
    c_in: int,
    c_out: int,
    side: int,
    stride: int,
    kernel: str,
    height: int,
    width: int,
    integers: bool,
    called: set[str],
) -> None:
    torch.manual_seed(1)
    layer = ReflectConv2d(c_in, c_out, side, stride, bias=c_out == 3)
    assert_native_and_near(layer, noise(2, c_in, height, width, seed=2), {kernel}, called, integers=integers)


@needs_compiler
def test_changed_weights_of_a_frozen_convolution_are_used() -> None:
    layer = FrozenConv2d(16, 16).requires_grad_(False)
    x = noise(1, 16, 12, 12, seed=1)
    before = layer(x, fast=True)
    layer.weight.mul_(2)
    layer.bias.mul_(2)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(x, fast=True), 2 * before)
