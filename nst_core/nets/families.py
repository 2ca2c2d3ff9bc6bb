"""Networks with several styles, which share all convolutions, the networks of their single styles, and blends.

Source: Dumoulin, Shlens, Kudlur, "A Learned Representation for Artistic Style" (2017): a style is the weight and the
bias of every instance normalisation, and so is a blend of styles. Networks that were trained from a common one are
blended by the means of all tensors: Wang, Yu, Dong, Tang, Loy, "Deep Network Interpolation for Continuous Imagery
Effect Transition" (2019).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose

import torch
from torch import Tensor

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.transformer_config import NOT_BLENDED, PALETTE, PALETTE_NUMBERS

#: A style of a network: its index, or the shares of several styles by their indexes, 0 to 1, which sum to 1.
Style = int | Mapping[int, float]


def one_style(net: TransformerNet, style: Style) -> TransformerNet:
    """Return the network of one style, or of a blend of styles, of a network; convolutions are not copied.

    Raises WeightsError if there is no such style, and ConfigError for shares that do not sum to 1.
    """
    state = state_of_style(net.state_dict(), net.config, style, name="The network")
    return _with_state(net.config.single, state)


def beginning(net: TransformerNet, config: TransformerConfig) -> TransformerNet:
    """Return the network that a training of a config begins with, from another one of the same kind.

    With the same number of styles it is that network, without its palettes. Otherwise each painting begins as the mean
    of its paintings, which is as near to a new one as the nearest of them, and the identity as its identity, or as that
    mean if it has none.
    """
    net = without_palettes(net)
    ours = net.config
    if ours.styles == config.styles:
        return net
    mean = one_style(net, dict.fromkeys(range(ours.paintings), 1 / ours.paintings))
    last = [one_style(net, ours.paintings) if ours.identity else mean] * config.identity
    return _with_state(config, joined([mean] * config.paintings + last).state_dict())


def newcomer(net: TransformerNet, own: Mapping[str, Tensor]) -> TransformerNet:
    """Return the network of a new style of a family, and of its identity if it has one, without palettes.

    `own` are the weights and biases of the style's normalisations, by their names.
    """
    net = without_palettes(net)
    config = net.config
    style = _with_state(config.single, {**one_style(net, 0).state_dict(), **own})
    last = [one_style(net, config.paintings)] if config.identity else []
    return _with_state(config.newcomer, joined([style, *last]).state_dict())


def joined(nets: Sequence[TransformerNet]) -> TransformerNet:
    """Return one network with the styles of several networks in their order; convolutions are not copied.

    If networks have the identity, that of the first of them comes last. If some have palettes, the styles of others get
    one that changes nothing. Raises ConfigError if the networks are of different kinds or have different convolutions.
    """
    nets = _alike(nets)
    kind, paintings = nets[0].config.single, sum(net.config.paintings for net in nets)
    if any(net.config.single != kind for net in nets):
        raise ConfigError("Only networks of the same kind can be joined.")
    own, states = set(kind.style_tensors()), [net.state_dict() for net in nets]
    for name, tensor in states[0].items():
        if name not in own and not all(torch.equal(state[name], tensor) for state in states):
            raise ConfigError(f"Only networks with the same convolutions can be joined, and {name} differs.")
    identities = [net for net in nets if net.config.identity][:1]
    config = replace(kind, styles=paintings + len(identities), identity=bool(identities))
    state = dict(states[0])
    for name, shape in config.tensor_shapes().items():
        if name in own:
            rows = [style_rows(net, name)[: net.config.paintings] for net in nets]
            state[name] = torch.cat(rows + [style_rows(net, name)[-1:] for net in identities]).view(shape)
    return _with_state(config, state)


def style_rows(net: TransformerNet, name: str) -> Tensor:
    """Return a tensor that each style of a network has for itself, S x C."""
    values: Tensor = net.state_dict()[name]
    return values.view(net.config.styles, -1)


def with_palettes(net: TransformerNet, palettes: Tensor) -> TransformerNet:
    """Return a network with a palette for each of its styles, S x PALETTE_NUMBERS; other tensors are not copied."""
    config = replace(net.config, palette=True)
    return _with_state(config, {**net.state_dict(), PALETTE: palettes.view(config.tensor_shapes()[PALETTE])})


def without_palettes(net: TransformerNet) -> TransformerNet:
    """Return a network without its palettes; tensors are not copied."""
    if not net.config.palette:
        return net
    state = net.state_dict()
    del state[PALETTE]
    return _with_state(replace(net.config, palette=False), state)


def blended(nets: Sequence[TransformerNet], shares: Sequence[float]) -> TransformerNet:
    """Return the network whose tensors, palette and grain are the means of several networks', by their shares.

    It paints a blend of their styles if the networks were trained from a common one. Raises ConfigError for shares
    that are not from 0 to 1 or do not sum to 1, and WeightsError if the networks differ in more than their grain, or
    have the norm batch: means of its statistics are not the statistics of the blend.
    """
    _check_shares(shares)
    first = nets[0].config
    if not all(first.blends_with(net.config) for net in nets):
        raise WeightsError(NOT_BLENDED)
    nets = _alike(nets)
    config = replace(
        nets[0].config, grain=sum(share * net.config.grain for net, share in zip(nets, shares, strict=True))
    )
    states = [net.state_dict() for net in nets]
    pairs = list(zip(states, shares, strict=True))
    state = {name: torch.stack([share * each[name] for each, share in pairs]).sum(0) for name in states[0]}
    return _with_state(config, state)


def state_of_style(
    state: Mapping[str, Tensor], config: TransformerConfig, style: Style, *, name: str
) -> dict[str, Tensor]:
    """Return the tensors of one style's network from those of a network; `name` begins error messages.

    Raises as `one_style` does.
    """
    shares = {style: 1.0} if isinstance(style, int) else style
    for index in shares:
        config.check_style(index, name=name)
    _check_shares(list(shares.values()))
    if config.styles == 1:
        return dict(state)
    blends = {key: _blend(state[key], shares) for key in config.style_tensors()}
    return {**state, **blends}


def _alike(nets: Sequence[TransformerNet]) -> list[TransformerNet]:
    """Return networks that all have palettes or all have none; one that changes nothing is all zeros."""
    if not any(net.config.palette for net in nets):
        return list(nets)
    return [
        net if net.config.palette else with_palettes(net, net.head.weight.new_zeros(net.config.styles, PALETTE_NUMBERS))
        for net in nets
    ]


def _check_shares(shares: Sequence[float]) -> None:
    if not all(0 <= share <= 1 for share in shares) or not isclose(sum(shares), 1, abs_tol=1e-6):
        raise ConfigError(f"The shares of styles must be from 0 to 1, and sum to 1, not {list(shares)}.")


def _blend(rows: Tensor, shares: Mapping[int, float]) -> Tensor:
    """Return the sum of some rows, S x C, times their shares."""
    return torch.stack([share * rows[index] for index, share in shares.items()]).sum(0)


def _with_state(config: TransformerConfig, state: Mapping[str, Tensor]) -> TransformerNet:
    with torch.device("meta"):  # the tensors of the state take their place
        net = TransformerNet(config)
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)
