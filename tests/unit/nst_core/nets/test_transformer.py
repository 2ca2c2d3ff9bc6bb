"""The transformer network: sizes, parameters, configuration, normalisation."""

from dataclasses import replace
from itertools import product
from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nst_core.nets.transformer import MIN_SIDE_PX, InstanceNorm, SameConv2d, TransformerConfig, TransformerNet

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = TransformerConfig(width=4, blocks=1)
CROPS = ("layers", "end", "start")
VARIANTS = [
    TransformerConfig.from_dict(
        {"width": 4, "blocks": 1, "norm": norm, "upsample": upsample, "padding": padding, "output": output}
    )
    for norm, upsample, padding, output in product(
        ("instance", "batch"), ("nearest", "transposed"), ("reflect", "zero"), ("linear", "tanh")
    )
]
VARIANTS += [
    TransformerConfig.from_dict(
        {"width": 4, "blocks": 1, "upsample": upsample, "padding": padding, "crop": crop, "head_norm": crop == "start"}
    )
    for upsample, padding, crop in product(("nearest", "transposed"), ("reflect", "zero", "same"), CROPS)
    if padding == "same" or crop != "layers"
]
VARIANTS += [TransformerConfig(width=4, blocks=1, norm="batch", head_norm=True, norm_eps=1e-3)]
NETS = [TransformerNet(config).eval().requires_grad_(False) for config in VARIANTS]


@pytest.mark.parametrize("variant", range(len(VARIANTS)))
@settings(max_examples=16, deadline=None)
@given(height=st.integers(MIN_SIDE_PX, 70), width=st.integers(MIN_SIDE_PX, 70))
def test_the_output_has_exactly_the_size_of_the_input(variant: int, height: int, width: int) -> None:
    assert NETS[variant](torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_default_network_has_the_published_parameters_without_unneeded_biases() -> None:
    # 1,679,235 is the count of PyTorch's fast_neural_style example, whose convolutions before a normalisation have
    # biases: 32 + 64 + 128 down, 10 x 128 in the residual blocks, 64 + 32 up.
    assert count(TransformerNet()) == 1_679_235 - (32 + 64 + 128 + 10 * 128 + 64 + 32)


@pytest.mark.parametrize(("w", "blocks"), [(4, 0), (8, 2), (32, 5)])
@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
def test_parameters_follow_from_width_and_blocks(w: int, blocks: int, upsample: Any) -> None:
    convolutions = 81 * (3 * w) + 9 * (w * 2 * w + 2 * w * 4 * w) + blocks * 2 * 9 * (4 * w) ** 2
    convolutions += 9 * (4 * w * 2 * w + 2 * w * w) + 81 * (w * 3) + 3
    norms = 2 * (w + 2 * w + 4 * w + blocks * 2 * 4 * w + 2 * w + w)
    assert count(TransformerNet(TransformerConfig(width=w, blocks=blocks, upsample=upsample))) == convolutions + norms


@pytest.mark.parametrize("head_norm", [False, True])
def test_the_first_output_is_near_mid_grey(head_norm: bool) -> None:
    torch.manual_seed(0)
    output = TransformerNet(TransformerConfig(head_norm=head_norm))(torch.rand(1, 3, 32, 32))
    assert (output - 0.5).abs().mean() < 0.15


@pytest.mark.parametrize(("size", "stride", "kernel"), list(product(range(5, 10), (1, 2, 3), (1, 3, 4))))
def test_same_padding_puts_the_odd_zero_at_the_end(size: int, stride: int, kernel: int) -> None:
    conv = SameConv2d(1, 1, kernel, stride, bias=False)
    x = torch.rand(1, 1, size, size + 1)
    got = conv(x)
    assert got.shape[2:] == (ceil(size / stride), ceil((size + 1) / stride))
    padded = torch.zeros(100, 100)  # the picture among zeros enough
    padded[50 : 50 + size, 50 : 51 + size] = x[0, 0]
    start = [50 - max((ceil(n / stride) - 1) * stride + kernel - n, 0) // 2 for n in (size, size + 1)]
    for i, j in product(range(got.shape[2]), range(got.shape[3])):
        row, column = start[0] + i * stride, start[1] + j * stride
        window = padded[row : row + kernel, column : column + kernel]
        torch.testing.assert_close(got[0, 0, i, j], (window * conv.weight[0, 0]).sum())


def test_all_crops_are_equal_if_sides_are_multiples_of_4() -> None:
    nets = [TransformerNet(TransformerConfig.from_dict({"width": 4, "crop": crop})).eval() for crop in CROPS]
    for net in nets:
        net.load_state_dict(nets[0].state_dict())
    x = torch.rand(1, 3, 20, 24)
    assert len({tuple(net(x).flatten().tolist()) for net in nets}) == 1


def test_crops_at_the_end_and_the_start_are_parts_of_one_picture() -> None:
    end, start = (TransformerNet(TransformerConfig.from_dict({"width": 4, "crop": crop})).eval() for crop in CROPS[1:])
    start.load_state_dict(end.state_dict())
    x = torch.rand(1, 3, 17, 18)  # 20 x 20 before cropping
    torch.testing.assert_close(end(x)[:, :, 3:, 2:], start(x)[:, :, :-3, :-2], rtol=0, atol=0)


def test_the_tanh_head_stays_within_150_of_255_around_mid_grey() -> None:
    net = TransformerNet(replace(SMALL, output="tanh"))
    net.head.weight.data.mul_(1e4)
    output = net(torch.rand(1, 3, 32, 32))
    assert (output - 0.5).abs().max() <= 150 / 255 + 1e-6
    assert (output - 0.5).abs().max() > 150 / 255 - 1e-2


def test_the_residual_sum_is_not_rectified() -> None:
    net = TransformerNet(SMALL)
    assert net.residuals(torch.randn(1, 16, 8, 8)).min() < 0


def test_gradients_reach_every_parameter() -> None:
    for config in VARIANTS:
        net = TransformerNet(config)
        torch.autograd.backward(net(torch.rand(2, 3, 17, 19)).square().mean())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_instance_norm_equals_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(5), nn.InstanceNorm2d(5, affine=True)
    for norm in (ours, theirs):
        norm.weight.data = torch.linspace(0.5, 2, 5)
        norm.bias.data = torch.linspace(-1, 1, 5)
    x = torch.randn(3, 5, 7, 9) * 4 + 2
    y, grad = torch.randn(3, 5, 7, 9), []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        torch.autograd.backward((norm(leaf) * y).sum())
        assert leaf.grad is not None
        grad.append(leaf.grad)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad[0], grad[1], rtol=1e-4, atol=1e-5)


def test_instance_norm_keeps_type_and_memory_format() -> None:
    x = torch.randn(2, 8, 6, 6).to(torch.bfloat16).to(memory_format=torch.channels_last)
    y = InstanceNorm(8)(x)
    assert y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_contrast_and_brightness_of_each_channel_hardly_matter_after_instance_norm() -> None:
    x = torch.randn(1, 3, 12, 12)
    torch.testing.assert_close(InstanceNorm(3)(x), InstanceNorm(3)(x * 7 + 3), rtol=1e-3, atol=1e-3)
