"""The transformer network: sizes, parameters, configuration, normalisation."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nst_core.errors import ConfigError
from nst_core.transformer import MIN_SIDE_PX, InstanceNorm, TransformerConfig, TransformerNet

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = TransformerConfig(width=4, blocks=1)
VARIANTS = [
    TransformerConfig.from_dict(
        {"width": 4, "blocks": 1, "norm": norm, "upsample": upsample, "padding": padding, "output": output}
    )
    for norm, upsample, padding, output in product(
        ("instance", "batch"), ("nearest", "transposed"), ("reflect", "zero"), ("linear", "tanh")
    )
]
NETS = [TransformerNet(config).eval().requires_grad_(False) for config in VARIANTS]


@pytest.mark.parametrize("variant", range(16))
@settings(max_examples=25, deadline=None)
@given(height=st.integers(MIN_SIDE_PX, 70), width=st.integers(MIN_SIDE_PX, 70))
def test_the_output_has_exactly_the_size_of_the_input(variant: int, height: int, width: int) -> None:
    assert NETS[variant](torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_default_network_has_the_published_parameters_less_the_cancelled_biases() -> None:
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


def test_the_first_output_is_near_mid_grey() -> None:
    torch.manual_seed(0)
    output = TransformerNet()(torch.rand(1, 3, 32, 32))
    assert (output - 0.5).abs().mean() < 0.15


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


@pytest.mark.parametrize(
    "values",
    [
        {"width": 0},
        {"width": 513},
        {"width": 8.0},
        {"width": True},
        {"blocks": -1},
        {"blocks": 65},
        {"norm": "layer"},
        {"upsample": "bilinear"},
        {"padding": "same"},
        {"output": "sigmoid"},
        {"norm": None},
    ],
)
def test_values_that_are_not_allowed_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        TransformerConfig.from_dict(values)


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="colour, size"):
        TransformerConfig.from_dict({"size": 1, "colour": 2})


@pytest.mark.parametrize("config", VARIANTS)
def test_a_config_survives_its_dict(config: TransformerConfig) -> None:
    assert TransformerConfig.from_dict(config.to_dict()) == config
