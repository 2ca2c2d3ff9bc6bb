"""Kernels read and make float16 maps exactly as PyTorch converts them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nst_core.inference.native_kernels import Map, typed
from nst_core.inference.stylizer import Precision
from nst_core.nets import native
from tests.unit.nst_core.inference.test_native_kernels import kernels, precision, random_map
from tests.unit.nst_core.nets.native_kit import needs_compiler

__all__ = ["precision"]  # a fixture

pytestmark = needs_compiler


def converted(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values as the kernels convert them, a multiple of 16 of them."""
    result = torch.empty_like(values, dtype=dtype)
    native.call("add", *typed(values), None, None, 0, None, 0, None, None, *typed(result), values.numel() // 16, 16)
    return result


def test_every_float16_value_is_read() -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.float16)
    finite = torch.where(every.isfinite(), every, torch.zeros(()).half())
    assert torch.equal(converted(finite, torch.float32).view(torch.int32), finite.float().view(torch.int32))


def test_values_are_rounded_to_the_nearest_even_float16() -> None:
    steps = torch.arange(0, 2**15 - 2**10, dtype=torch.int16).view(torch.float16)
    between = (steps.double() + torch.cat([steps[1:], steps[-1:]]).double()) / 2
    values = torch.cat([between, between * (1 + 1e-6), between * (1 - 1e-6), torch.randn(2**15).double()]).float()
    values = torch.cat([values, -values])[: len(values) // 8 * 16]
    assert torch.equal(converted(values, torch.float16).view(torch.int16), values.half().view(torch.int16))


def test_values_that_are_too_large_become_the_largest() -> None:
    values = torch.tensor([65504.0, 65519.0, 65536.0, 1e9, torch.inf, -70000.0, -1e30, -torch.inf] * 2)
    assert converted(values, torch.float16).tolist() == [65504.0] * 5 + [-65504.0] * 3 + [65504.0] * 5 + [-65504.0] * 3


def convolve(name: str, stride: int) -> Callable[[Map, Precision, torch.dtype], Tensor]:
    """Return a function that convolves a map of 21 x 18 positions."""

    def run(x: Map, precision: Precision, dtype: torch.dtype) -> Tensor:
        y = torch.empty(-(-21 // stride), -(-18 // stride), kernels().channels(name), dtype=dtype)
        kernels(precision).convolve(x, name, y, rows=y.shape[0], above=kernels().side(name) // 2)
        return y

    return run


def double(x: Map, precision: Precision, dtype: torch.dtype) -> Tensor:
    """Return the convolution of the doubled map."""
    y = torch.empty(42, 36, kernels().channels("up2.conv"), dtype=dtype)
    kernels(precision).convolve_doubled(x, "up2.conv", y, size=(42, 36), first=0, rows=42)
    return y


def add(x: Map, precision: Precision, dtype: torch.dtype) -> Tensor:
    """Return the sum of a map and itself after another normalisation."""
    total = torch.empty(21, 18, x.channels, dtype=dtype)
    kernels(precision).add(x, replace(x, relu=False), total)
    return total


def head(x: Map, precision: Precision, dtype: torch.dtype) -> Tensor:
    """Return the last convolution, which is float32 always."""
    y = torch.empty(21, 18, 3)
    kernels(precision).head(x, y, rows=21, above=4)
    return y.to(dtype)


@pytest.mark.parametrize(
    ("run", "channels"),
    [
        (convolve("down2.conv", 2), 32),
        (convolve("residuals.0.conv1", 1), 128),
        (double, 64),
        (add, 48),
        (head, 32),
    ],
    ids=["down2", "residual", "double", "add", "head"],
)
def test_a_map_of_either_type_gives_the_same(
    run: Callable[[Map, Precision, torch.dtype], Tensor], channels: int, precision: Precision
) -> None:
    x = random_map(21, 18, channels)
    halves, floats = (replace(x, values=x.values.half().to(dtype)) for dtype in (torch.float16, torch.float32))
    expected = run(floats, precision, torch.float32)
    assert torch.equal(run(halves, precision, torch.float32), expected)
    assert torch.equal(run(halves, precision, torch.float16), expected.half())


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_first_convolution_makes_either_type(as_bytes: bool, precision: Precision) -> None:
    x = random_map(21, 18, 3, normal=False)
    if as_bytes:
        x = replace(x, values=(50 * x.values + 128).clamp(0, 255).to(torch.uint8))
    run = convolve("down1.conv", 1)
    assert torch.equal(run(x, precision, torch.float16), run(x, precision, torch.float32).half())
