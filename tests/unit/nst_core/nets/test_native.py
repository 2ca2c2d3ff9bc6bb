"""Kernels in C compute what torch's own functions do, forward and backward."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nst_core.nets import native
from nst_core.nets.convolution import FrozenConv2d
from nst_core.nets.operators import ReflectConv2d
from nst_core.nets.transformer import InstanceNorm

needs_compiler = pytest.mark.skipif(native.library() is None, reason="there is no C compiler")


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def computed(layer: nn.Module, x: Tensor, dtype: torch.dtype, **options: bool) -> list[Tensor]:
    """Return the result of a layer and the gradients by its input and its parameters; only float32 is native."""
    layer = layer.to(dtype)
    x = x.to(dtype).requires_grad_()
    y = layer(x, **options)
    inputs = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return [y.detach(), *torch.autograd.grad(y, inputs, noise(*y.shape, seed=9).to(dtype))]


def assert_native_and_near(layer: nn.Module, x: Tensor, kernels: set[str], called: set[str], **options: bool) -> None:
    """Compare with torch in float64, and check that the kernels really ran."""
    ours = computed(layer, x, torch.float32, **options)
    assert kernels <= called
    for value, wanted in zip(ours, computed(layer, x, torch.float64, **options), strict=True):
        assert value.dtype == torch.float32
        assert (value - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the kernels that ran."""
    names: set[str] = set()
    run = native.call

    def noted(name: str, *arguments: Tensor | int | float | None) -> None:
        names.add(name)
        run(name, *arguments)

    monkeypatch.setattr(native, "call", noted)
    return names


@needs_compiler
@pytest.mark.parametrize(("height", "width"), [(37, 29), (8, 64), (3, 5), (1, 1)])
@pytest.mark.parametrize(("c_in", "c_out"), [(16, 16), (32, 48), (256, 64)])
@pytest.mark.parametrize("relu", [True, False])
def test_a_frozen_convolution(height: int, width: int, c_in: int, c_out: int, relu: bool, called: set[str]) -> None:
    torch.manual_seed(1)
    layer = FrozenConv2d(c_in, c_out).requires_grad_(False)
    # A ReLU whose input is near zero may round to either side, which would change the gradient.
    layer.bias.fill_(8.0)  # type: ignore[union-attr]
    layer.bias[::2] = -8.0  # type: ignore[index]
    kernels = {"winograd", "transform_kernels"}
    assert_native_and_near(layer, noise(2, c_in, height, width, seed=2), kernels, called, relu=relu, fast=True)


@needs_compiler
@pytest.mark.parametrize(
    ("c_in", "c_out", "side", "stride", "kernel"),
    [
        (32, 48, 3, 1, "kernel_gradient"),
        (3, 32, 9, 1, "direct_kernel_gradient"),
        (32, 3, 9, 1, "direct_kernel_gradient"),
        (32, 64, 3, 2, "direct_kernel_gradient"),
        (16, 16, 5, 2, "direct_kernel_gradient"),
        (3, 16, 3, 1, "direct_kernel_gradient"),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(37, 30), (16, 17)])
def test_a_trained_convolution(
    c_in: int, c_out: int, side: int, stride: int, kernel: str, height: int, width: int, called: set[str]
) -> None:
    torch.manual_seed(1)
    layer = ReflectConv2d(c_in, c_out, side, stride, bias=c_out == 3)
    assert_native_and_near(layer, noise(2, c_in, height, width, seed=2), {kernel}, called)


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


@needs_compiler
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    torch.manual_seed(1)
    layer = nn.Sequential(ReflectConv2d(3, 32, 9), InstanceNorm(32), ReflectConv2d(32, 64, 3, bias=False))
    x = noise(3, 3, 41, 50, seed=2)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y = layer(x)
            weights = [layer[0].weight, layer[1].weight, layer[2].weight]
            # Not that of the bias, which is torch's own sum.
            found.append([y.detach(), *torch.autograd.grad(y, weights, noise(*y.shape, seed=9))])
    finally:
        torch.set_num_threads(threads)
    native_only = [(each[0], each[3]) for each in found]
    for other in native_only[1:]:
        assert all(torch.equal(a, b) for a, b in zip(native_only[0], other, strict=True))


@needs_compiler
def test_changed_weights_of_a_frozen_convolution_are_used() -> None:
    layer = FrozenConv2d(16, 16).requires_grad_(False)
    x = noise(1, 16, 12, 12, seed=1)
    before = layer(x, fast=True)
    layer.weight.mul_(2)
    layer.bias.mul_(2)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(x, fast=True), 2 * before)


def test_a_compiler_that_fails_means_no_kernels(tmp_path: Path) -> None:
    script = "from nst_core.nets import native; print(native.library())"
    env = {**os.environ, "CC": str(tmp_path / "no-compiler")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
