"""Tests of nst_core.nets.chosen_styles."""

from dataclasses import replace

import pytest
import torch

from nst_core.errors import WeightsError
from nst_core.nets.chosen_styles import chosen_styles
from nst_core.nets.families import one_style
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import dump_transformer, load_transformer_bytes


def family() -> TransformerNet:
    """Return a small network with three different styles, each of which has a palette."""
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(width=8, blocks=1, styles=3, grain=6.0, palette=True)).requires_grad_(False)
    for name in net.config.style_tensors():
        net.state_dict()[name].uniform_()
    return net


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("index", [0, 2])
def test_the_file_of_one_style_has_its_network(index: int, dtype: torch.dtype) -> None:
    data = dump_transformer(family(), dtype=dtype)
    found = load_transformer_bytes(chosen_styles(data, [index]))
    expected = one_style(load_transformer_bytes(data, style=None), index)
    assert found.config == expected.config
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)


def test_a_style_is_put_before_the_identity() -> None:
    data = dump_transformer(family())
    found = load_transformer_bytes(chosen_styles(data, [1, 2], identity=True), style=None)
    assert found.config == replace(family().config, styles=2, identity=True)
    for ours, theirs in ((0, 1), (1, 2)):
        expected = one_style(load_transformer_bytes(data, style=None), theirs).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in one_style(found, ours).state_dict().items())


def test_all_styles_make_the_file_that_they_come_from() -> None:
    data = dump_transformer(family())
    assert load_transformer_bytes(chosen_styles(data, [0, 1, 2], identity=True), style=None).config.identity
    whole = chosen_styles(data, [0, 1, 2])
    assert dump_transformer(load_transformer_bytes(whole, style=None)) == data


def test_equal_input_gives_equal_bytes_and_styles_differ() -> None:
    data = dump_transformer(family())
    assert chosen_styles(data, [1]) == chosen_styles(data, [1])
    assert chosen_styles(data, [1]) != chosen_styles(data, [2])


def test_a_network_of_one_style_is_returned_as_it_is() -> None:
    data = dump_transformer(one_style(family(), 1))
    assert chosen_styles(data, [0]) is data
    with pytest.raises(WeightsError, match="Mine is a network of one style, and has no style 1"):
        chosen_styles(data, [1], name="Mine")


def test_what_is_no_weights_file_is_refused() -> None:
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        chosen_styles(b"nothing", [0])
    with pytest.raises(WeightsError, match="no style -1"):
        chosen_styles(dump_transformer(family()), [-1])
