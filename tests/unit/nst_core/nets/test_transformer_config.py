"""Tests of nst_core.nets.transformer_config."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.transformer import InstanceNorm, TransformerConfig, TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS

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
VARIANTS += [TransformerConfig(width=4, blocks=1, styles=3), TransformerConfig(width=4, styles=2, head_norm=True)]
VARIANTS += [TransformerConfig(width=4, blocks=1, styles=2, palette=True), TransformerConfig(width=4, palette=True)]


@pytest.mark.parametrize("config", VARIANTS)
def test_the_shapes_of_a_config_are_those_of_its_network(config: TransformerConfig) -> None:
    state = TransformerNet(config).state_dict()
    assert config.tensor_shapes() == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_the_layers_of_a_config_are_in_the_order_of_the_network() -> None:
    net, ran = TransformerNet(replace(SMALL, blocks=2)), list[str]()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | InstanceNorm):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    net(torch.rand(1, 3, 16, 16))
    assert [name for pair in net.config.layers() for name in pair] == ran[:-1]
    assert ran[-1] == "head"


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
        {"padding": "valid"},
        {"output": "sigmoid"},
        {"norm": None},
        {"norm_eps": 0.0},
        {"norm_eps": 1},
        {"norm_eps": float("nan")},
        {"norm_eps": "1e-5"},
        {"head_norm": 1},
        {"crop": "middle"},
        {"styles": 0},
        {"styles": 1001},
        {"styles": 2.0},
        {"styles": 2, "norm": "batch"},
    ],
)
def test_values_that_are_not_allowed_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        TransformerConfig.from_dict(values)


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="colour, size"):
        TransformerConfig.from_dict({"size": 1, "colour": 2})


def test_missing_fields_of_a_dict_have_defaults() -> None:
    config = TransformerConfig(crop="end", norm_eps=1e-3)
    assert TransformerConfig.from_dict(config.to_dict()) == config
    assert TransformerConfig.from_dict({"width": 8}) == TransformerConfig(width=8)


@pytest.mark.parametrize("config", VARIANTS)
def test_a_config_survives_a_dict_round_trip(config: TransformerConfig) -> None:
    assert TransformerConfig.from_dict(config.to_dict()) == config


def test_a_network_with_the_identity_paints_its_other_styles_less() -> None:
    family = TransformerConfig(styles=4, identity=True)
    assert (family.paintings, family.newcomer, family.single) == (3, replace(family, styles=2), TransformerConfig())
    assert [family.fades(style) for style in range(4)] == [True, True, True, False]
    assert family.weaker(1, 0.25, name="mine") == {1: 0.25, 3: 0.75}
    assert family.weaker(3, 1.0, name="mine") == 3
    with pytest.raises(WeightsError, match="mine has no identity, so that it cannot paint its style 0 less"):
        TransformerConfig(styles=4).weaker(0, 0.25, name="mine")
    assert TransformerConfig(styles=4).newcomer == TransformerConfig()


def test_a_palette_is_a_tensor_of_each_style_that_trainings_do_not_have() -> None:
    family = TransformerConfig(styles=4, identity=True, palette=True)
    assert family.tensor_shapes()["palette"] == (4, PALETTE_NUMBERS)
    assert family.single.tensor_shapes()["palette"] == (PALETTE_NUMBERS,)
    assert family.style_tensors() == [*family.norm_tensors(), "palette"]
    assert family.newcomer == TransformerConfig(styles=2, identity=True)
    assert TransformerConfig().takes_weights_of(family.single)
    assert "palette" not in TransformerConfig().to_dict()
    assert "palette" not in TransformerConfig().tensor_shapes()
    with pytest.raises(ConfigError, match="palette must be true or false"):
        TransformerConfig.from_dict({"palette": 1})


def test_styles_of_one_kind_blend_whatever_their_number_and_grain() -> None:
    assert TransformerConfig(styles=4, identity=True).blends_with(TransformerConfig(grain=3.0))
    assert not TransformerConfig().blends_with(TransformerConfig(output="tanh"))
    batch = TransformerConfig(norm="batch")
    assert not batch.blends_with(batch)
