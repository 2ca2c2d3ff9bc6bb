"""Tests of nst_core.inference.torch_layers; `test_strips` compares whole pictures."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nst_core.inference.torch_layers import TorchLayers
from nst_core.nets.transformer import TransformerConfig, TransformerNet

NET = TransformerNet(TransformerConfig(width=8, blocks=1)).eval().requires_grad_(False)


def layers(**inputs: np.ndarray) -> TorchLayers:
    return TorchLayers(NET, inputs, torch.device("cpu"))


def test_a_stored_map_comes_back() -> None:
    x = torch.rand(1, 32, 6, 5).half().float()
    stored = layers().stored(x).numpy()
    assert stored.shape == (6, 32, 5)
    assert stored.dtype == np.float16
    assert torch.equal(layers(y=stored).map("y"), x)


def test_upsampling_at_once_is_doubling_and_convolution() -> None:
    x = torch.rand(1, 32, 6, 5)
    weight = NET.get_submodule("up1.conv").get_parameter("weight")
    expected = F.conv2d(F.pad(F.interpolate(x, scale_factor=2.0), [1] * 4, mode="reflect"), weight)
    actual = layers().up_at_once(x, "up1.conv", torch.tensor([1, 1]))
    assert torch.allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("odd", [(False, True), (True, False), (True, True)])
def test_upsampling_at_once_to_an_odd_size(odd: tuple[bool, bool]) -> None:
    x = torch.rand(1, 32, 6, 5)
    weight = NET.get_submodule("up1.conv").get_parameter("weight")
    cropped = F.interpolate(x, scale_factor=2.0)[:, :, : 12 - odd[0], : 10 - odd[1]]
    expected = F.conv2d(F.pad(cropped, [1] * 4, mode="reflect"), weight)
    actual = layers().up_at_once(x, "up1.conv", torch.tensor([1, 1 - odd[0]]), odd=odd)
    assert torch.allclose(actual, expected, atol=1e-5)


def test_moments() -> None:
    x = torch.rand(1, 4, 6, 5)
    moments = layers().moments(x)
    assert torch.allclose(moments["mean"], x.mean((2, 3), keepdim=True))
    assert torch.allclose(moments["variance"], x.var((2, 3), correction=0, keepdim=True))
