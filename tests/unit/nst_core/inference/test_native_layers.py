"""Tests of nst_core.inference.native_layers: for strips it computes what `TorchLayers` does."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from nst_core.inference.native_kernels import Kernels
from nst_core.inference.native_layers import NativeLayers
from nst_core.inference.row_ranges import Rows, conv_source, up_source
from nst_core.inference.strip_statistics import Statistics
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
    x, size = torch.randn(1, 32, 24, 19), torch.tensor([14, 19])
    pair = both()
    pictures = [
        layers.picture(layers.head(x.clone(), None if rows is None else torch.tensor(rows)), size) for layers in pair
    ]
    assert (pictures[0].int() - pictures[1]).abs().max() <= 1
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


@pytest.mark.parametrize(("name", "channels", "side"), [("down2.conv", 32, 38), ("residuals.0.conv1", 128, 24)])
def test_statistics_of_a_convolution_come_with_it(name: str, channels: int, side: int) -> None:
    torch.manual_seed(1)
    layers = both()[1]
    y = layers.conv(torch.randn(1, channels, side, 31), name)
    compare_moments(layers.moments(y), y)
    doubled = layers.up_at_once(torch.randn(1, 128, side, 31), "up1.conv", torch.tensor([1, 1]))
    compare_moments(layers.moments(doubled), doubled)


def compare_moments(found: Mapping[str, torch.Tensor], x: torch.Tensor) -> None:
    """Compare mean and variance of each channel with those that PyTorch computes in float64.

    They are those of a result before it is rounded to float16.
    """
    error = 1e-6 if x.dtype == torch.float32 else 5e-5
    mean, variance = x.double().mean((2, 3)), x.double().var((2, 3), correction=0)
    assert found["mean"].shape == found["variance"].shape == (1, x.shape[1], 1, 1)
    torch.testing.assert_close(found["mean"].flatten(1), mean, rtol=0, atol=error)
    torch.testing.assert_close(found["variance"].flatten(1), variance, rtol=10 * error, atol=error)


@pytest.mark.parametrize("height", [70, 128])
@pytest.mark.parametrize("name", ["down2.conv", "residuals.0.conv1", "up2.conv"])
def test_statistics_of_a_strip_do_not_depend_on_where_it_ends(name: str, height: int) -> None:
    """Those of 32 rows are the same in a strip of 32 and in one of more, and put together they are those of all."""
    torch.manual_seed(2)
    layers, stride = both()[1], 1 + name.startswith("down")
    x = torch.randn(1, {"down2.conv": 32, "up2.conv": 64}.get(name, 128), stride * height, 33)
    whole, parts = Statistics(), Statistics()
    for statistics, step in ((whole, height), (parts, 32)):
        for first in range(0, height, step):
            y = rows_of(layers, name, x, first, min(first + step, height))
            statistics.add(y.shape[2] * y.shape[3], **{name: each.numpy() for name, each in layers.moments(y).items()})
    ones = np.ones(y.shape[1])
    for one, other in zip(whole.affine(ones, ones, 1e-5), parts.affine(ones, ones, 1e-5), strict=True):
        assert np.array_equal(one, other)


def rows_of(layers: NativeLayers, name: str, x: torch.Tensor, first: int, end: int) -> torch.Tensor:
    """Return some rows of a convolution of a map, whose first one is even, from a strip of the map."""
    if name.startswith("up"):
        source, _ = up_source(Rows(2 * first, 2 * end), 2 * x.shape[2])
    else:
        source = conv_source(Rows(first, end), kernel=3, stride=1 + name.startswith("down"))
    kept, missing = source.within(x.shape[2])
    convolve = layers.up_at_once if name.startswith("up") else layers.conv
    return convolve(x[:, :, kept.first : kept.end], name, torch.from_numpy(missing))


@pytest.mark.parametrize("odd_column", [False, True])
@pytest.mark.parametrize(
    ("rows", "odd_row"),
    [((1, 1), False), ((0, 1), False), ((1, 0), False), ((0, 0), False), ((0, 0), True), ((1, 0), True)],
)
def test_doubled_maps(rows: tuple[int, int], odd_row: bool, odd_column: bool) -> None:
    check("up_at_once", 64, "up2.conv", np.array(rows), odd=(odd_row, odd_column))
