"""Tests of nst_core.inference.native_kernels: convolutions compute what those of PyTorch do."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nst_core.inference.native_engine import PRECISIONS
from nst_core.inference.native_kernels import Kernels, Map, suits
from nst_core.inference.stylizer import Precision
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from tests.unit.nst_core.nets.native_kit import needs_compiler

torch.manual_seed(1)
NET = TransformerNet(TransformerConfig(blocks=1)).eval().requires_grad_(False)
pytestmark = needs_compiler
SIZES = [(16, 16), (17, 23), (40, 9), (5, 6)]


#: The largest difference from PyTorch, as a part of the largest value.
TOLERANCES: dict[Precision, float] = {"fp32": 2e-5, "int16": 8e-3}


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> Precision:
    """Return each precision."""
    value: Precision = request.param
    return value


@cache
def kernels(precision: Precision = "fp32") -> Kernels:
    """Return the kernels of a network."""
    return Kernels(NET, precision)


def weight(name: str) -> Tensor:
    """Return the weight of a convolution."""
    return NET.get_submodule(name).get_parameter("weight")


def random_map(height: int, width: int, channels: int, *, normal: bool = True) -> Map:
    """Return a map of random values, with random scales and shifts unless it is not `normal`."""
    torch.manual_seed(height * width)
    values = torch.randn(height, width, channels)
    x = Map(values=values, height=height, width=width, channels=channels)
    return replace(x, scale=torch.rand(channels), shift=torch.randn(channels), relu=True) if normal else x


def as_read(x: Map) -> Tensor:
    """Return what a kernel reads of a map, 1 x C x H x W."""
    values = x.values if x.scale is None or x.shift is None else torch.relu(x.values * x.scale + x.shift)
    return values.permute(2, 0, 1)[None]


def check(y: Tensor, expected: Tensor, precision: Precision) -> None:
    """Compare rows x columns x channels with a result of PyTorch."""
    difference = y.view(expected.permute(0, 2, 3, 1).shape) - expected.permute(0, 2, 3, 1)
    assert difference.abs().max() <= TOLERANCES[precision] * expected.abs().max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "channels"), [("down1.conv", 3), ("down2.conv", 32), ("down3.conv", 64), ("residuals.0.conv1", 128)]
)
def test_a_convolution_with_reflection_padding(
    size: tuple[int, int], name: str, channels: int, precision: Precision
) -> None:
    x, margin, stride = (
        random_map(*size, channels, normal=channels != 3),
        weight(name).shape[2] // 2,
        kernels().stride(name),
    )
    expected = F.conv2d(F.pad(as_read(x), [margin] * 4, mode="reflect"), weight(name), stride=stride)
    y = torch.empty(expected.numel())
    kernels(precision).convolve(x, name, y, rows=expected.shape[2], above=margin)
    check(y, expected, precision)
    assert kernels().channels(name) == expected.shape[1]


@pytest.mark.parametrize(("above", "below"), [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize(("name", "channels"), [("down2.conv", 32), ("residuals.0.conv1", 128)])
def test_a_convolution_of_a_strip_reads_the_rows_around_it(
    name: str, channels: int, above: int, below: int, precision: Precision
) -> None:
    x = random_map(21, 18, channels)
    expected = F.conv2d(
        F.pad(as_read(x), [1, 1, above, below], mode="reflect"), weight(name), stride=kernels().stride(name)
    )
    y = torch.empty(expected.numel())
    kernels(precision).convolve(x, name, y, rows=expected.shape[2], above=above)
    check(y, expected, precision)


@pytest.mark.parametrize("cut", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("first", [0, 2])
def test_a_convolution_of_a_doubled_map(cut: tuple[int, int], first: int, precision: Precision) -> None:
    x, size = random_map(11, 7, 64), (22 - cut[0], 14 - cut[1])
    doubled = F.interpolate(as_read(x), scale_factor=2.0)[:, :, : size[0], : size[1]]
    expected = F.conv2d(F.pad(doubled, [1] * 4, mode="reflect"), weight("up2.conv"))[:, :, first:]
    y = torch.empty(expected.numel())
    kernels(precision).convolve_doubled(x, "up2.conv", y, size=size, first=first, rows=expected.shape[2])
    check(y, expected, precision)


@pytest.mark.parametrize("size", [*SIZES, (90, 7)])
def test_the_last_convolution(size: tuple[int, int], precision: Precision) -> None:
    check_head(random_map(*size, 32), 4, 4, precision)


@pytest.mark.parametrize(("above", "below"), [(0, 4), (4, 0), (0, 0)])
def test_the_last_convolution_of_a_strip(above: int, below: int, precision: Precision) -> None:
    check_head(random_map(21, 18, 32), above, below, precision)


def check_head(x: Map, above: int, below: int, precision: Precision) -> None:
    """Compare the last convolution of a map with so many rows of padding."""
    rows = x.height + above + below - 8
    expected = F.conv2d(F.pad(as_read(x), [4, 4, above, below], mode="reflect"), weight("head"), NET.head.bias)
    y = torch.empty(rows, x.width, 3)
    kernels(precision).head(x, y, rows=rows, above=above)
    check(y, expected, precision)


def test_sums_of_integers_never_overflow() -> None:
    # The largest sums: values of one size with the signs of the weights of a channel.
    for name, channels in (("down3.conv", 64), ("residuals.0.conv1", 128)):
        for channel in (0, 77):
            signs = weight(name)[channel].sign().permute(1, 2, 0)
            tiled = signs.repeat(5, 5, 1)[:15, :15].contiguous()
            x = Map(values=tiled, height=15, width=15, channels=channels)
            stride = kernels().stride(name)
            expected = F.conv2d(F.pad(as_read(x), [1] * 4, mode="reflect"), weight(name), stride=stride)
            y = torch.empty(expected.numel())
            kernels("int16").convolve(x, name, y, rows=expected.shape[2], above=1)
            check(y, expected, "int16")


@pytest.mark.parametrize("changes", [{"width": 8}, {"norm": "batch"}, {"padding": "zero"}, {"upsample": "transposed"}])
def test_some_networks_have_no_kernels(changes: dict[str, object]) -> None:
    config = TransformerConfig()
    assert suits(config)
    assert not suits(TransformerConfig.from_dict({**config.to_dict(), **changes}))


def test_nbytes_counts_transformed_weights() -> None:
    assert kernels().nbytes > 2 * 36 * 128 * 128 * 4
    assert kernels().nbytes / 2 < kernels("int16").nbytes < kernels().nbytes * 0.6
