"""Tests of nst_core.inference.native_layers: for strips it computes what `TorchLayers` does."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from nst_core.inference.native_kernels import Kernels
from nst_core.inference.native_layers import NativeLayers
from nst_core.inference.torch_layers import TorchLayers
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from tests.unit.nst_core.nets.native_kit import needs_compiler

NET = TransformerNet(TransformerConfig(blocks=1)).eval().requires_grad_(False)
pytestmark = needs_compiler


@cache
def kernels() -> Kernels:
    """Return the kernels of a network."""
    return Kernels(NET)


def both(**inputs: np.ndarray[Any, Any]) -> tuple[TorchLayers, NativeLayers]:
    """Return the layers of a network in PyTorch and in our kernels."""
    return TorchLayers(NET, inputs, torch.device("cpu")), NativeLayers(NET, inputs, kernels())


def check(method: str, channels: int, *arguments: Any, **options: Any) -> None:
    """Compare the results of a method for a strip of 24 x 19 positions."""
    torch.manual_seed(0)
    x = torch.randn(1, channels, 24, 19)
    expected, actual = (getattr(layers, method)(x.clone(), *arguments, **options) for layers in both())
    torch.testing.assert_close(actual.float(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [None, (1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize(("name", "channels"), [("down2.conv", 32), ("down3.conv", 64), ("residuals.0.conv2", 128)])
def test_convolutions(name: str, channels: int, rows: Any) -> None:
    check("conv", channels, name, None if rows is None else np.array(rows))


@pytest.mark.parametrize("rows", [None, (4, 0), (0, 2)])
def test_the_first_and_the_last_convolution(rows: Any) -> None:
    check("head", 32, None if rows is None else np.array(rows))
    photo = np.random.default_rng(0).integers(0, 256, (1, 24, 19, 3), np.uint8)
    missing = None if rows is None else torch.tensor(rows)
    expected, actual = (layers.conv(layers.photo(), "down1.conv", missing) for layers in both(photo=photo))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("relu", [True, False])
def test_a_map_is_normalised_where_it_is_read(relu: bool) -> None:
    random = np.random.default_rng(1)
    names = ("up1.norm.scale", "up1.norm.shift")
    pair = both(**{name: random.normal(size=(1, 64, 1, 1)).astype(np.float32) for name in names})
    x, y = torch.randn(2, 1, 64, 24, 19)
    normal = [layers.norm(x.clone(), "up1.norm", relu=relu, given=True) for layers in pair]
    results = [
        [
            layers.stored(z),
            layers.up_at_once(z, "up2.conv", torch.tensor([1, 1])),
            *([] if relu else [layers.add(y, z)]),
        ]
        for layers, z in zip(pair, normal, strict=True)
    ]
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual.float(), expected.float(), rtol=2e-3, atol=2e-3)


def test_statistics() -> None:
    x = 1000 + torch.randn(1, 96, 50, 41)
    x[:, 3] = 7.0
    found = both()[1].moments(x)
    compare_moments(found, x)
    assert found["variance"][0, 3] == 0


@pytest.mark.parametrize(("name", "channels", "side"), [("down2.conv", 32, 38), ("residuals.0.conv1", 128, 24)])
def test_statistics_of_a_convolution_come_with_it(name: str, channels: int, side: int) -> None:
    torch.manual_seed(1)
    layers = both()[1]
    y = layers.conv(torch.randn(1, channels, side, 31), name)
    doubled = layers.up_at_once(torch.randn(1, 128, side, 31), "up1.conv", torch.tensor([1, 1]))
    # Those of the last convolution come with it, those of other maps are computed.
    for result in (doubled, y, doubled[:, :, 2:-3]):
        compare_moments(layers.moments(result), result)


def compare_moments(found: Mapping[str, torch.Tensor], x: torch.Tensor) -> None:
    """Compare mean and variance of each channel with those that PyTorch computes in float64."""
    mean, variance = x.double().mean((2, 3)), x.double().var((2, 3), correction=0)
    assert found["mean"].shape == found["variance"].shape == (1, x.shape[1], 1, 1)
    torch.testing.assert_close(found["mean"].flatten(1).double(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found["variance"].flatten(1).double(), variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("odd_column", [False, True])
@pytest.mark.parametrize(
    ("rows", "odd_row"),
    [((1, 1), False), ((0, 1), False), ((1, 0), False), ((0, 0), False), ((0, 0), True), ((1, 0), True)],
)
def test_doubled_maps(rows: tuple[int, int], odd_row: bool, odd_column: bool) -> None:
    check("up_at_once", 64, "up2.conv", np.array(rows), odd=(odd_row, odd_column))
