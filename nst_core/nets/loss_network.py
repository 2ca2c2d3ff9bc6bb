"""The loss network: named features of an image, up to the deepest requested layer.

VGG16 and VGG19: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015). The
bundled weights of VGG16 are theirs (Caffe), folded to take torchvision-normalised RGB; see NOTICE for the credit. Their
activations are on Caffe's 0-255 scale, so the loss weights of Johnson's and Gatys' programs apply as they are.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.errors import ConfigError
from nst_core.nets.convolution import FrozenConv2d
from nst_core.nets.graph_network import GraphFeatures
from nst_core.nets.loss_weights import FIRST_LAYER, MEAN, STD, VGG_SOURCES, LossWeights, Places, load_weights
from nst_core.nets.operators import MaxPool
from nst_core.nets.vgg_layers import BLOCKS, CHANNELS, layer_names

Pooling = Literal["max", "average"]

#: Other names of networks: the bundled weights of VGG16 are Caffe's.
ALIASES = {"vgg16_caffe": "vgg16"}


class VGG(nn.Module):
    """Features of a VGG at the named layers.

    Input: N x 3 x H x W, normalised. Output: the features by layer name, in the order of the layers. Odd sides lose a
    row or column in pooling, as in torchvision; Caffe rounds them up.
    """

    def __init__(self, name: str, layers: Sequence[str], *, pooling: Pooling) -> None:
        """Build up to the deepest of `layers`, with random weights; raise ConfigError for unknown layers or pooling."""
        super().__init__()
        names = layer_names(name)
        for layer in layers:
            if layer not in names:
                blocks = ", ".join(map(str, BLOCKS[name.partition("_")[0]]))
                raise ConfigError(
                    f"The loss network {name} has no layer {layer!r}, only convB_I, reluB_I and poolB "
                    f"for its blocks B of {blocks} convolutions I: {names[0]} to {names[-1]}."
                )
        if pooling not in get_args(Pooling):
            raise ConfigError(f"The pooling of a loss network is max or average, not {pooling!r}.")
        self.source = VGG_SOURCES[name]
        self.layers = tuple(layers)
        self.stack = nn.ModuleDict()
        c_in = 3
        for layer in names[: 1 + max(map(names.index, layers))]:
            kind, block = layer[:4], int(layer[4])
            if kind == "conv":
                c_out = CHANNELS[block - 1]
                self.stack[layer] = FrozenConv2d(c_in, c_out)
                c_in = c_out
            elif kind == "relu":  # in place, it would overwrite the returned features of its convolution
                self.stack[layer] = nn.ReLU(inplace=f"conv{layer[4:]}" not in layers)
            else:
                self.stack[layer] = MaxPool() if pooling == "max" else nn.AvgPool2d(2)

    def forward(
        self, image: Tensor, *, layers: Sequence[str] | None = None, as_trained: bool = False
    ) -> dict[str, Tensor]:
        """Return the features of the network's layers, or of some of them.

        `as_trained`: compute them as for a picture that takes a gradient.
        """
        x = image
        features: dict[str, Tensor] = {}
        wanted = self.layers if layers is None else layers
        fast = as_trained or image.requires_grad
        rectify = False  # whether a ReLU is left to the next convolution
        for name, layer in self.stack.items():
            if isinstance(layer, FrozenConv2d):
                # Together with its ReLU, unless somebody wants the features between the two.
                relu = f"relu{name[4:]}" in self.stack and name not in self.layers
                x = layer(x, rectify=rectify, relu=relu, fast=fast)
                rectify = False
            elif not isinstance(layer, nn.ReLU):
                if rectify and (name in wanted or not isinstance(layer, MaxPool)):
                    x, rectify = F.relu(x), False
                x = layer(x)  # the largest value is the same before a ReLU as after it
            elif f"conv{name[4:]}" in self.layers:
                if name in wanted or not fast:
                    x = layer(x)
                else:
                    rectify = True
            if name in wanted:
                features[name] = x
            if len(features) == len(wanted):
                break
        return features

    @staticmethod
    def layer_step(layer: str) -> int:
        """Return how many pixels of the picture lie between two positions of a layer."""
        return int(2 ** (int(layer[4]) - (not layer.startswith("pool"))))

    @property
    def step(self) -> int:
        """The largest step of all layers."""
        return max(map(self.layer_step, self.stack))

    @property
    def margin(self) -> int:
        """How many pixels around a position the deepest layer sees, rounded up to a multiple of `step`."""
        step, seen = 1, 0
        for layer in self.stack:
            if layer.startswith("conv"):
                seen += step
            elif layer.startswith("pool"):
                seen += step
                step *= 2
        return -(-seen // self.step) * self.step

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters by their names in torchvision, `features.N.weight`, where N counts all layers."""
        return {
            f"features.{index}.{part}": parameter
            for index, layer in enumerate(self.stack.values())
            for part, parameter in layer.named_parameters()
        }

    def scale_features(self, factor: float) -> None:
        """Multiply all features by a positive factor.

        Convolutions without bias, ReLU and pooling all commute with it, so the first kernel and every bias take it, and
        the network runs as fast as before.
        """
        for key, parameter in self.weights().items():
            if key == FIRST_LAYER or key.endswith("bias"):
                parameter.mul_(factor)


class LossNetwork(nn.Module):
    """Features of a frozen classifier at the named layers, by name.

    Input: N x 3 x H x W RGB in 0 to 1. It is always in eval mode: batch statistics do not move.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str], *, name: str = "vgg16", pooling: Pooling = "max") -> None:
        """Build with random weights up to the deepest of `layers`; raise ConfigError for options that do not exist."""
        super().__init__()
        if not layers:
            raise ConfigError("A loss network needs the name of at least one layer.")
        self.layers = tuple(layers)
        self.body: VGG | GraphFeatures
        if name in VGG_SOURCES:
            self.body = VGG(name, layers, pooling=pooling)
        elif pooling != "max":
            raise ConfigError(f"Only the VGG networks can use another pooling than in their training, not {name!r}.")
        else:
            self.body = GraphFeatures(name, layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.body((image - self.mean) / self.std)
        return features

    def target(self, image: Tensor, layer: str) -> Tensor:
        """Return the features of one layer to compare with those of a picture that takes a gradient.

        They are computed in the same way, and a VGG goes no deeper than needed.
        """
        x = (image - self.mean) / self.std
        body = self.body
        features: dict[str, Tensor] = body(x, layers=[layer], as_trained=True) if isinstance(body, VGG) else body(x)
        return features[layer]

    def train(self, mode: bool = True) -> "LossNetwork":
        """Stay in eval mode, also if the module around this one is trained."""
        return super().train(False)

    def set_weights(self, weights: LossWeights) -> None:
        """Copy weights, which must have all tensors of the network, and set the normalisation that they expect."""
        for key, own in self.body.weights().items():
            own.copy_(weights.state[key])
        self.mean.copy_(torch.tensor(weights.mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(weights.std).view(1, 3, 1, 1))


def load_loss_network(
    layers: Sequence[str],
    *,
    name: str = "vgg16",
    pooling: Pooling = "max",
    scale: float = 1.0,
    weights: Path | None = None,
) -> LossNetwork:
    """Return a trained loss network up to the deepest of `layers`, frozen, float32 on the CPU.

    `name`: vgg16 (Caffe's weights, bundled; also vgg16_caffe), vgg16_torchvision, vgg19 (torchvision's), vgg19_caffe,
    with layers convB_I, reluB_I and poolB; or any classifier of torchvision, with the nodes of its graph as layers.
    `pooling`: average instead of max as in Gatys et al. 2016, section 2; VGG only. `scale` > 0 multiplies all features:
    1 / 57.4 brings Caffe's activations, made for inputs of +-128, to the scale of torchvision's, whose inputs have
    deviation 1, so that loss weights published for one apply to the other, about. `weights`: a file, or a folder of
    files; without it the setting NST_LOSS_WEIGHTS, the bundled file or torchvision's official download.

    Raises ConfigError for options that do not exist, WeightsError for weights that are missing, damaged or of another
    network. Torch's random state stays as it is.
    """
    network = random_loss_network(layers, name=name, pooling=pooling)
    load_trained(network, scale=scale, weights=weights)
    return network


def random_loss_network(layers: Sequence[str], *, name: str = "vgg16", pooling: Pooling = "max") -> LossNetwork:
    """Return a network with random weights, for `load_trained`; torch's random state stays as it is."""
    with torch.random.fork_rng(devices=()):
        return LossNetwork(layers, name=ALIASES.get(name, name), pooling=pooling)


def load_trained(
    network: LossNetwork,
    *,
    scale: float = 1.0,
    weights: Path | None = None,
    settings: Places | None = None,
    on_bytes: Callable[[], object] = lambda: None,
) -> None:
    """Load the trained weights of a network, as `load_loss_network` does.

    `settings`: by default those of the environment. `on_bytes` is called repeatedly during a download, which ends if
    it raises.
    """
    if not (isfinite(scale) and scale > 0):
        raise ConfigError(f"The scale of a loss network's features is a positive number, not {scale}.")
    body = network.body
    shapes = {key: tensor.shape for key, tensor in body.weights().items()}
    if settings is None:
        from nst_core.settings import LossWeightsSettings  # late, because it needs pydantic

        settings = LossWeightsSettings()
    network.set_weights(load_weights(body.source, shapes, weights=weights, settings=settings, on_bytes=on_bytes))
    if scale != 1:
        body.scale_features(scale)
