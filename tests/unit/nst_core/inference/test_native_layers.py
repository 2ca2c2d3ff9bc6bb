"""Tests of nst_core.inference.native_layers: for strips it computes what `TorchLayers` does."""

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
def both() -> tuple[TorchLayers, NativeLayers]:
    """Return the layers of a network in PyTorch and in our kernels."""
    return TorchLayers(NET, {}, torch.device("cpu")), NativeLayers(NET, {}, Kernels(NET))


def check(method: str, channels: int, *arguments: Any, **options: Any) -> None:
    """Compare the results of a method for a strip of 24 x 19 positions."""
    torch.manual_seed(0)
    x = torch.randn(1, channels, 24, 19)
    expected, actual = (getattr(layers, method)(x.clone(), *arguments, **options) for layers in both())
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("rows", [None, (1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize(("name", "channels"), [("down2.conv", 32), ("down3.conv", 64), ("residuals.0.conv2", 128)])
def test_convolutions(name: str, channels: int, rows: Any) -> None:
    check("conv", channels, name, None if rows is None else np.array(rows))


@pytest.mark.parametrize("rows", [None, (4, 0), (0, 2)])
def test_the_first_and_the_last_convolution(rows: Any) -> None:
    check("conv", 3, "down1.conv", None if rows is None else np.array(rows))
    check("head", 32, None if rows is None else np.array(rows))


@pytest.mark.parametrize("odd_column", [False, True])
@pytest.mark.parametrize(
    ("rows", "odd_row"),
    [((1, 1), False), ((0, 1), False), ((1, 0), False), ((0, 0), False), ((0, 0), True), ((1, 0), True)],
)
def test_doubled_maps(rows: tuple[int, int], odd_row: bool, odd_column: bool) -> None:
    check("up_at_once", 64, "up2.conv", np.array(rows), odd=(odd_row, odd_column))
