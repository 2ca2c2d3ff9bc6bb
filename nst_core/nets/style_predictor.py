"""Guesses the style of a family for a painting that nobody trained on.

Source: Ghiasi, Lee, Kudlur, Dumoulin, Shlens, "Exploring the structure of a real-time, arbitrary neural artistic
stylization network" (2017): a network maps a painting to the weight and the bias of every normalisation. Departures: it
reads means and deviations of a loss network's features, which are what AdaIN knows of a painting (Huang & Belongie
2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization"), and the convolutions are those of a
family, which do not learn with it. So a guess is a style of the family, with the same engines, blends and strengths.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from nst_core.errors import WeightsError
from nst_core.nets.families import newcomer, style_rows
from nst_core.nets.feature_tiles import made_of_tiles
from nst_core.nets.loss_network import LossNetwork, load_trained, random_loss_network
from nst_core.nets.loss_weights import read_tensors
from nst_core.nets.safetensors_files import write_safetensors
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.vgg_layers import CHANNELS
from nst_core.system.pieces import Runner, at_once

#: The layers of VGG16 whose features describe a painting.
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
#: How many numbers describe a painting: two for each channel.
NUMBERS = 2 * sum(CHANNELS[: len(LAYERS)])
_HIDDEN = 256
#: How far from the mean, in deviations, a number of a painting may be: beyond, nothing was learned.
_FARTHEST = 4.0


class StylePredictor(nn.Module):
    """Maps what describes paintings, N x NUMBERS, to the numbers of their styles, N x P."""

    mean: Tensor
    deviation: Tensor
    usual: Tensor
    spread: Tensor
    convolutions: Tensor

    def __init__(self, styles: int) -> None:
        """Build with random weights for styles of P numbers; at first all paintings have the usual style."""
        super().__init__()
        for name, count in (("mean", NUMBERS), ("deviation", NUMBERS), ("usual", styles), ("spread", styles)):
            self.register_buffer(name, torch.zeros(count))
        #: The SHA-256 of the convolutions that the styles are for.
        self.register_buffer("convolutions", torch.zeros(32, dtype=torch.uint8))
        self.first = nn.Linear(NUMBERS, _HIDDEN)
        self.second = nn.Linear(_HIDDEN, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, styles)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, described: Tensor) -> Tensor:
        x = ((described - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)
        x = nn.functional.gelu(self.second(nn.functional.gelu(self.first(x))))
        styles: Tensor = self.usual + self.spread * self.last(x)
        return styles

    def fits(self, net: TransformerNet) -> bool:
        """Return whether its styles are for the convolutions of a network."""
        return torch.equal(self.convolutions, digest_of_convolutions(net))


@torch.no_grad()
def guessed(
    predictor: StylePredictor,
    net: TransformerNet,
    painting: Tensor,
    *,
    network: LossNetwork | None = None,
    on_piece: Runner = at_once,
) -> TransformerNet:
    """Return the network of a new style of a family, and of its identity if it has one, by a guess.

    `painting`: 1 x 3 x H x W RGB in 0 to 1, as large as style pictures of trainings are. `network` is that of
    `describing_network`. `on_piece` runs the parts of the work that take long. Raises WeightsError if the predictor is
    for other convolutions.
    """
    if not predictor.fits(net):
        raise WeightsError("The style predictor was trained with other convolutions than those of the network.")
    described = _described(made_of_tiles(_sums, network or describing_network(), painting, on_piece=on_piece))
    return newcomer(net, named(predictor(described[None])[0], net.config))


def describing_network(layers: Sequence[str] = LAYERS) -> LossNetwork:
    """Return VGG16 with the weights in the package, whatever others are configured: predictors know no others."""
    network = random_loss_network(layers)
    load_trained(network, settings=_Bundled())
    return network


class _Bundled:
    """Settings that name no weights of one's own."""

    loss_weights: Path | None = None
    loss_weights_url: str = ""


def describe(features: Iterable[Mapping[str, Tensor]]) -> Tensor:
    """Return what describes a painting, NUMBERS, given its features by layer, tile by tile, 1 x C x H x W each."""
    return _described(map(_sums, features))


#: By layer: the sums of each channel's values and of their squares, 2 x C, and the number of positions.
_Sums = dict[str, tuple[Tensor, int]]


def _sums(features: Mapping[str, Tensor]) -> _Sums:
    values = {layer: features[layer][0].flatten(1).double() for layer in LAYERS}
    return {layer: (torch.stack([x.sum(1), x.square().sum(1)]), x.shape[1]) for layer, x in values.items()}


def _described(tiles: Iterable[_Sums]) -> Tensor:
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for tile in tiles:
        for layer, (parts, count) in tile.items():
            sums[layer] = sums[layer] + parts if layer in sums else parts
            counts[layer] = counts.get(layer, 0) + count
    numbers = []
    for layer in LAYERS:
        mean, square = sums[layer] / counts[layer]
        numbers += [mean, (square - mean.square()).clamp_min(0).sqrt()]
    return torch.log1p(10 * torch.cat(numbers)).float()


def named(numbers: Tensor, config: TransformerConfig) -> dict[str, Tensor]:
    """Return the numbers of styles, P or N x P, as the weights and biases of a kind of network by their names."""
    shapes = config.single.tensor_shapes()
    names = config.norm_tensors()
    parts = torch.split(numbers, [shapes[name][0] for name in names], dim=-1)
    return dict(zip(names, parts, strict=True))


def numbers_of(net: TransformerNet) -> Tensor:
    """Return the numbers of all styles of a network, S x P: those of its normalisations."""
    return torch.cat([style_rows(net, name) for name in net.config.norm_tensors()], 1)


def digest_of_convolutions(net: TransformerNet) -> Tensor:
    """Return the SHA-256, 32 bytes, of all that the styles of a network share."""
    digest, own = sha256(), set(net.config.style_tensors())
    for name, tensor in sorted(net.state_dict().items()):
        if name not in own:
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def load_predictor(path: Path) -> StylePredictor:
    """Return a predictor, frozen, float32 on the CPU; raise WeightsError if the file is damaged."""
    with torch.device("meta"):  # the tensors of the file take their place
        names = StylePredictor(1).state_dict().keys()
    state = read_tensors(path, names)
    try:
        with torch.device("meta"):
            predictor = StylePredictor(state["usual"].numel())
        floats = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
        predictor.load_state_dict(floats, assign=True)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} is not a style predictor, or is damaged.") from error
    return predictor.eval().requires_grad_(False)


def dump_predictor(predictor: StylePredictor) -> bytes:
    """Return the bytes of a predictor's file; its floats become float16."""
    state = predictor.state_dict()
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    file = BytesIO()
    write_safetensors(file, tensors, {})
    return file.getvalue()
