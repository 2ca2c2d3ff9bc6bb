"""The VGG16 loss network: named features of an image, up to the deepest layer that is asked for.

Source: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015). The
bundled weights are theirs (Caffe), folded to take torchvision-normalised RGB; see NOTICE for the credit. Their
activations are on Caffe's 0-255 scale, so the loss weights of Johnson's and Gatys' programs apply as they are.
"""

from collections.abc import Sequence
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.errors import ConfigError, WeightsError

#: Convolutions in each of the five blocks; a 2x2 pooling stands between blocks.
BLOCKS = (2, 2, 3, 3, 3)
#: Output channels of each block.
CHANNELS = (64, 128, 256, 512, 512)
#: Mean and standard deviation of RGB in 0-1 that the weights expect (torchvision's).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BUNDLED_WEIGHTS = "vgg16_relu4_3_fp16.safetensors"


def layer_names() -> list[str]:
    """Return the names of all layers in order: relu1_1, relu1_2, relu2_1, ..., relu5_3."""
    return [f"relu{b}_{i}" for b, count in enumerate(BLOCKS, 1) for i in range(1, count + 1)]


class LossNetwork(nn.Module):
    """Features of VGG16 at the named layers.

    Input: N x 3 x H x W RGB in 0 to 1. Output: the features, after ReLU, by layer name.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str]) -> None:
        """Build the network up to the deepest of `layers`; raise ConfigError for an unknown name."""
        super().__init__()
        names = layer_names()
        unknown = [name for name in layers if name not in names]
        if unknown or not layers:
            raise ConfigError(f"Loss network layers must be among {names[0]} to {names[-1]}, not {unknown}.")
        self.layers = tuple(layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        deepest = max(names.index(name) for name in layers)
        self.convs = nn.ModuleDict()
        c_in = 3
        for name in names[: deepest + 1]:
            c_out = CHANNELS[int(name[4]) - 1]
            self.convs[name] = nn.Conv2d(c_in, c_out, 3, padding=1)
            c_in = c_out
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = (image - self.mean) / self.std
        features = {}
        for name, conv in self.convs.items():
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(conv(x))
            if name in self.layers:
                features[name] = x
        return features

    def load_vgg_weights(self, state: dict[str, Tensor]) -> None:
        """Load weights with torchvision's keys (`features.N.weight`); raise WeightsError where one is missing."""
        own = {}
        for name in self.convs:
            for part in ("weight", "bias"):
                key = f"features.{torchvision_index(name)}.{part}"
                if key not in state:
                    raise WeightsError(f"The loss network's weights have no {key}, which {name} needs.")
                own[f"convs.{name}.{part}"] = state[key].float()
        self.load_state_dict(own)


def torchvision_index(name: str) -> int:
    """Return the index of the convolution under a layer in torchvision's `vgg16().features`."""
    block, conv = int(name[4]), int(name[6])
    return sum(2 * count + 1 for count in BLOCKS[: block - 1]) + 2 * (conv - 1)


def load_loss_network(layers: Sequence[str]) -> LossNetwork:
    """Return the VGG16 loss network with the bundled weights, frozen, on the CPU; layers up to relu4_3."""
    network = LossNetwork(layers)
    data = (resources.files("nst_core") / "assets" / BUNDLED_WEIGHTS).read_bytes()
    network.load_vgg_weights(load(data))
    return network
