"""The network that enlarges painted pictures: what it adds to a bicubic enlargement.

Johnson, Alahi, Fei-Fei 2016, section 4.2, trains such a network with a feature loss. Departures: all convolutions see
the small picture, and the last one makes factor x factor pixels of each (Shi et al. 2016, "Real-Time Single Image and
Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network"), which takes a fraction of the time;
the network adds to a bicubic enlargement, so that colours stay; there is no normalisation, so that a pixel depends on
its surroundings alone, and large pictures can be made in tiles.
"""

from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.nets.loss_weights import read_network
from nst_core.nets.safetensors_files import write_safetensors
from nst_core.system.whole_files import write_whole

Factor = Literal[2, 4]
FACTORS: tuple[Factor, ...] = (2, 4)
_WIDTH, _BLOCKS = 32, 3
#: Pixels around a picture that the network reads: two for the first convolution, one for each other.
MARGIN = 2 + 2 * _BLOCKS + 1


class _Block(nn.Module):
    """Two convolutions of 3 x 3 whose result is added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(_WIDTH, _WIDTH, 3)
        self.second = nn.Conv2d(_WIDTH, _WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.second(F.relu(self.first(x)))
        return x[:, :, 2:-2, 2:-2] + result


class UpscaleNet(nn.Module):
    """Input: N x 3 x H x W in 0 to 1. Output: N x 3 x factor (H - 2 MARGIN) x factor (W - 2 MARGIN), about 0 to 1."""

    def __init__(self, factor: Factor) -> None:
        """Build with random weights; at first the network adds nothing."""
        super().__init__()
        self.factor = factor
        self.first = nn.Conv2d(3, _WIDTH, 5)
        self.blocks = nn.Sequential(*(_Block() for _ in range(_BLOCKS)))
        self.last = nn.Conv2d(_WIDTH, 3 * factor**2, 3)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor) -> Tensor:
        details = F.pixel_shuffle(self.last(F.relu(self.blocks(F.relu(self.first(image))))), self.factor)
        large = F.interpolate(image, scale_factor=float(self.factor), mode="bicubic", align_corners=False)
        cut = self.factor * MARGIN
        return large[:, :, cut:-cut, cut:-cut] + details


def weights_file(factor: Factor) -> Path:
    """Return the file of the trained weights in the package."""
    return Path(str(resources.files("nst_core"))) / "assets" / "upscaling" / f"x{factor}_fp16.safetensors"


def load_upscale_net(factor: Factor, path: Path | None = None) -> UpscaleNet:
    """Return the trained network, frozen, float32 on the CPU, in channels_last.

    `path` is the file of weights, by default the one in the package. Raises WeightsError if it is damaged or of
    another network.
    """
    net = UpscaleNet(factor)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    what = f"a network that enlarges pictures {factor} times"
    net.load_state_dict(read_network(path or weights_file(factor), shapes, what=what))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def save_upscale_net(net: UpscaleNet, path: Path) -> None:
    """Write the weights as float16, as `write_whole` does."""
    file = BytesIO()
    write_safetensors(file, {name: tensor.half() for name, tensor in net.state_dict().items()}, {})
    write_whole(path, file.getvalue())
