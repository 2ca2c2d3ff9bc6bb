"""Networks with several styles: what is loaded, blended and joined from them, and where gradients go."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.families import (
    Style,
    beginning,
    blended,
    joined,
    newcomer,
    one_style,
    with_palettes,
    without_palettes,
)
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from nst_core.nets.weights import dump_transformer, load_transformer, load_transformer_bytes, save_transformer
from tests.unit.nst_core.nets.native_kit import needs_compiler

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = [
    TransformerConfig(width=4, blocks=1),
    TransformerConfig(width=16, blocks=1, output="tanh", head_norm=True, crop="end", padding="zero"),
]


def singles(config: TransformerConfig, count: int = 3) -> list[TransformerNet]:
    """Return networks with the same convolutions and different styles."""
    torch.manual_seed(4)
    nets = [TransformerNet(config) for _ in range(count)]
    for net in nets:
        for name, parameter in net.named_parameters():
            own = name in config.style_tensors()
            parameter.data = 0.5 + torch.rand_like(parameter) if own else nets[0].get_parameter(name).data
    return nets


def photos(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 22, 19, generator=torch.Generator().manual_seed(5))


def equal(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("config", KINDS)
def test_each_style_of_a_family_is_its_own_network(config: TransformerConfig) -> None:
    nets = singles(config)
    family = joined(nets)
    assert family.config == replace(config, styles=3)
    for index, net in enumerate(nets):
        assert one_style(family, index).config == config
        assert equal(one_style(family, index), net)


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("native", [False, True])
def test_the_styles_of_a_batch_are_computed_as_by_their_own_networks(config: TransformerConfig, native: bool) -> None:
    nets, batch = singles(config), photos()
    family = joined(nets)
    with torch.set_grad_enabled(native):  # where nothing takes a gradient, torch computes
        made = family(batch, torch.tensor([2, 0, 2]))
        for picture, photo, style in zip(made, batch, (2, 0, 2), strict=True):
            torch.testing.assert_close(picture, nets[style](photo[None])[0], rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_style_is_bit_for_bit_that_of_its_own_network() -> None:
    for config in KINDS:
        nets = singles(config)
        family = joined(nets).requires_grad_()
        net = nets[1].requires_grad_()
        batch = photos(2)
        made, expected = family(batch, torch.tensor([1, 1])), net(batch)
        assert torch.equal(made, expected)
        made.square().sum().backward()
        expected.square().sum().backward()
        for name, parameter in net.named_parameters():
            gradient, wanted = family.get_parameter(name).grad, parameter.grad
            assert gradient is not None
            assert wanted is not None
            if name in config.style_tensors():
                torch.testing.assert_close(gradient[1], wanted, rtol=1e-4, atol=1e-6)
            else:
                assert torch.equal(gradient, wanted)


@needs_compiler
def test_gradients_are_those_in_float64_and_reach_the_styles_of_the_batch_alone() -> None:
    config = KINDS[1]
    family, batch, styles = joined(singles(config)).requires_grad_(), photos(), torch.tensor([2, 0, 2])
    family(batch, styles).square().sum().backward()
    exact = joined(singles(config)).double().requires_grad_()
    exact(batch.double(), styles).square().sum().backward()
    for name, parameter in family.named_parameters():
        gradient, wanted = parameter.grad, exact.get_parameter(name).grad
        assert gradient is not None
        assert wanted is not None
        assert (gradient - wanted).norm() <= 1e-4 * wanted.norm()
        if name in config.style_tensors():
            assert not gradient[1].any()
            assert gradient[0].any()
            assert gradient[2].any()


@pytest.mark.parametrize("config", KINDS)
def test_a_family_file_has_each_style(config: TransformerConfig, tmp_path: Path) -> None:
    nets = singles(config)
    data = dump_transformer(joined(nets), dtype=torch.float32)
    (tmp_path / "family.safetensors").write_bytes(data)
    for index, net in enumerate(nets):
        assert equal(load_transformer_bytes(data, style=index), net)
        assert equal(load_transformer(tmp_path / "family.safetensors", style=index), net)
    assert equal(load_transformer_bytes(data), nets[0])
    whole = load_transformer_bytes(data, style=None)
    assert whole.config.styles == 3
    assert dump_transformer(whole, dtype=torch.float32) == data


def test_a_style_taken_out_of_a_family_has_the_file_that_it_had_alone(tmp_path: Path) -> None:
    nets = singles(KINDS[0])
    save_transformer(joined(nets), tmp_path / "family.safetensors")
    for index, net in enumerate(nets):
        own = load_transformer(tmp_path / "family.safetensors", style=index)
        assert dump_transformer(own) == dump_transformer(net)


def test_a_blend_mixes_weight_and_bias() -> None:
    nets = singles(KINDS[0])
    data = dump_transformer(joined(nets), dtype=torch.float32)
    blend = load_transformer_bytes(data, style={0: 0.25, 2: 0.75})
    for name, value in blend.state_dict().items():
        first, _, last = (net.state_dict()[name] for net in nets)
        expected = 0.25 * first + 0.75 * last if name in KINDS[0].style_tensors() else first
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("shares", [{1: 1.0}, {1: 1.0, 0: 0.0}, {0: 0.0, 1: 1.0, 2: 0.0}])
def test_a_blend_of_one_style_is_that_style(shares: Mapping[int, float]) -> None:
    nets = singles(KINDS[0])
    assert equal(one_style(joined(nets), shares), nets[1])


@pytest.mark.parametrize("shares", [{}, {0: 0.5}, {0: 0.6, 1: 0.6}, {0: -0.5, 1: 1.5}, {0: float("nan"), 1: 0.5}])
def test_shares_that_do_not_sum_to_one_are_refused(shares: Mapping[int, float]) -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        one_style(joined(singles(KINDS[0])), shares)


@pytest.mark.parametrize("style", [3, -1, {0: 0.5, 7: 0.5}])
def test_a_style_that_a_network_does_not_have_is_refused(style: Style) -> None:
    data = dump_transformer(joined(singles(KINDS[0])))
    with pytest.raises(WeightsError, match=r"mine is a network of 3 styles, and has no style (3|-1|7)"):
        load_transformer_bytes(data, name="mine", style=style)
    with pytest.raises(WeightsError, match="a network of one style, and has no style 1"):
        load_transformer_bytes(dump_transformer(singles(KINDS[0])[0]), style=1)


def test_a_network_of_one_style_stays_what_it_is() -> None:
    net = singles(KINDS[0])[0]
    for same in (one_style(net, 0), one_style(net, {0: 1.0}), joined([net]), beginning(net, net.config)):
        assert dump_transformer(same) == dump_transformer(net)


def test_families_can_be_joined() -> None:
    nets = singles(KINDS[0], 4)
    family = joined([joined(nets[:3]), nets[3]])
    assert family.config.styles == 4
    assert all(equal(one_style(family, index), net) for index, net in enumerate(nets))


def with_identity(nets: Sequence[TransformerNet]) -> TransformerNet:
    """Return one network of some styles, of which the last is called the identity."""
    family = joined(nets)
    family.config = replace(family.config, identity=True)
    return family


def test_the_first_identity_of_joined_families_comes_last() -> None:
    nets = singles(KINDS[0], 5)
    family = joined([with_identity(nets[:3]), nets[3], with_identity([nets[2], nets[4]])])
    assert family.config == replace(KINDS[0], styles=5, identity=True)
    for index, net in enumerate([nets[0], nets[1], nets[3], nets[2], nets[2]]):
        assert equal(one_style(family, index), net)


def test_a_new_painting_begins_as_the_mean_of_all_and_the_identity_as_it_is() -> None:
    nets, wanted = singles(KINDS[0]), replace(KINDS[0], styles=2, identity=True)
    start = beginning(with_identity(nets), wanted)
    assert start.config == wanted
    assert equal(one_style(start, 0), one_style(joined(nets), {0: 0.5, 1: 0.5}))
    assert equal(one_style(start, 1), nets[2])
    assert equal(beginning(with_identity(nets), KINDS[0]), one_style(start, 0))
    for index in range(2):  # without an identity, all styles begin alike
        assert equal(one_style(beginning(nets[1], wanted), index), nets[1])


def test_other_networks_cannot_be_joined() -> None:
    first, second = singles(KINDS[0])[:2]
    second.head.weight.data = second.head.weight.data + 1
    with pytest.raises(ConfigError, match=r"the same convolutions can be joined, and head\.weight differs"):
        joined([first, second])
    with pytest.raises(ConfigError, match="same kind"):
        joined([first, TransformerNet(KINDS[1])])


def test_a_family_needs_the_style_of_each_photo_and_other_networks_none() -> None:
    nets = singles(KINDS[0])
    with pytest.raises(ValueError, match="several"):
        joined(nets)(photos())
    with pytest.raises(ValueError, match="several"):
        nets[0](photos(), torch.tensor([0, 0, 0]))


def different(count: int, **fields: Any) -> list[TransformerNet]:
    """Return networks without anything in common but their kind."""
    torch.manual_seed(6)
    return [TransformerNet(TransformerConfig(width=4, blocks=1, **fields)) for _ in range(count)]


def test_all_tensors_of_a_blend_are_means_by_shares() -> None:
    nets = different(3)
    states = [net.state_dict() for net in nets]
    half = blended(nets[:2], [0.5, 0.5])
    for name, tensor in half.state_dict().items():
        assert torch.equal(tensor, (states[0][name] + states[1][name]) / 2)
    for name, tensor in blended(nets, [0.5, 0.3, 0.2]).state_dict().items():
        exact = sum(share * state[name].double() for share, state in zip((0.5, 0.3, 0.2), states, strict=True))
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-6, atol=1e-7)
    assert equal(blended(nets[:2], [1.0, 0.0]), nets[0])
    assert half.config == nets[0].config
    assert not half.training
    assert not any(parameter.requires_grad for parameter in half.parameters())


def test_a_blend_of_styles_of_one_family_is_that_of_their_norms() -> None:
    nets = singles(KINDS[0])
    ours, theirs = blended(nets, [0.5, 0.3, 0.2]), one_style(joined(nets), {0: 0.5, 1: 0.3, 2: 0.2})
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.get_parameter(name).data)


def test_the_grain_of_a_blend_is_the_mean() -> None:
    nets = different(1, grain=8.0) + different(1)
    assert blended(nets, [0.25, 0.75]).config == replace(nets[1].config, grain=2.0)


def test_only_networks_of_one_kind_with_instance_norms_are_blended() -> None:
    net = different(1)[0]
    for other in (different(1, output="tanh")[0], different(1, norm="batch")[0]):
        with pytest.raises(WeightsError, match="of the same kind"):
            blended([net, other], [0.5, 0.5])
    with pytest.raises(WeightsError, match="the norm instance"):
        blended(different(2, norm="batch"), [0.5, 0.5])
    for shares in ([0.5, 0.4], [1.5, -0.5]):
        with pytest.raises(ConfigError, match="sum to 1"):
            blended([net, net], shares)


def palettes(count: int) -> Tensor:
    return torch.rand(count, PALETTE_NUMBERS, generator=torch.Generator().manual_seed(8))


def palette_of(net: TransformerNet) -> Tensor:
    return net.get_buffer("palette")


def test_each_style_of_a_family_has_its_palette_also_in_files() -> None:
    nets, own = singles(KINDS[0]), palettes(3)
    family = joined([with_palettes(net, palette) for net, palette in zip(nets, own, strict=True)])
    assert torch.equal(palette_of(family), own)
    data = dump_transformer(family, dtype=torch.float32)
    for index in range(3):
        assert torch.equal(palette_of(load_transformer_bytes(data, style=index)), own[index])
    mixed = load_transformer_bytes(data, style={0: 0.25, 2: 0.75})
    torch.testing.assert_close(palette_of(mixed), 0.25 * own[0] + 0.75 * own[2])
    assert equal(without_palettes(family), joined(nets))


def test_styles_without_a_palette_get_one_that_changes_nothing_beside_others() -> None:
    nets, own = singles(KINDS[0]), palettes(1)
    family = joined([nets[0], with_palettes(nets[1], own), nets[2]])
    assert torch.equal(palette_of(family), torch.stack([torch.zeros_like(own[0]), own[0], torch.zeros_like(own[0])]))
    half = blended([with_palettes(nets[1], own), nets[0]], [0.5, 0.5])
    torch.testing.assert_close(palette_of(half), own[0] / 2)
    assert not blended(nets[:2], [0.5, 0.5]).config.palette


def test_trainings_begin_without_palettes() -> None:
    nets = [with_palettes(net, palettes(1)) for net in singles(KINDS[0])]
    family, wanted = with_identity(nets), replace(KINDS[0], styles=2, identity=True)
    assert family.config.newcomer == wanted
    assert beginning(family, wanted).config == wanted
    assert equal(beginning(nets[0], KINDS[0]), without_palettes(nets[0]))
    numbers = {name: nets[1].state_dict()[name] for name in KINDS[0].norm_tensors()}
    new = newcomer(family, numbers)
    assert new.config == wanted
    assert equal(one_style(new, 0), without_palettes(nets[1]))
