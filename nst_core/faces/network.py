"""YuNet, a network of 53,000 numbers that finds faces.

Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023), in its smaller variant. The bundled weights are
theirs; see NOTICE for the credit. Normalisations are folded into the convolutions, and the first one takes RGB in 0
to 1.
"""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.nets.loss_weights import read_network

WEIGHTS = "yunet_s_fp16.safetensors"
#: Pixels between two positions of each level.
STRIDES = (8, 16, 32)
LANDMARKS = 5
#: Channels of the first convolution, and of the stages after it.
_FIRST, _STAGES = 16, (32, 64, 64, 64, 64)
#: Stages whose result is halved, and those that are the levels.
_HALVED, _LEVELS = (1, 2, 3), (2, 3, 4)


class Level(NamedTuple):
    """What the network says about each position of a level, N x C x H x W."""

    #: Logits of a face being there, and of a position being in the middle of something.
    classes: Tensor
    objects: Tensor
    #: The middle of the box from the position, in strides, x and y; and the logarithms of width and height in strides.
    boxes: Tensor
    #: The landmarks from the position, x and y of each, in strides.
    points: Tensor


class Separable(nn.Module):
    """A convolution of 1 x 1 px, one of 3 x 3 px in each channel alone, and, if `rectify`, a ReLU."""

    def __init__(self, c_in: int, c_out: int, *, rectify: bool = True) -> None:
        super().__init__()
        self.point = nn.Conv2d(c_in, c_out, 1)
        self.depth = nn.Conv2d(c_out, c_out, 3, padding=1, groups=c_out)
        self._rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.depth(self.point(x))
        return F.relu(result) if self._rectify else result


class FaceNet(nn.Module):
    """Input: N x 3 x H x W RGB in 0 to 1, both sides multiples of 32. Output: the levels, finest first."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        self.stem = nn.Conv2d(3, _FIRST, 3, stride=2, padding=1)
        self.first = Separable(_FIRST, _FIRST)
        self.stages = nn.ModuleList(
            nn.Sequential(Separable(c_in, c_in), Separable(c_in, c_out))
            for c_in, c_out in zip((_FIRST, *_STAGES), _STAGES, strict=False)
        )
        width = _STAGES[-1]
        self.lateral = nn.ModuleList(Separable(width, width) for _ in STRIDES)
        for name, count in (("classes", 1), ("objects", 1), ("boxes", 4), ("points", 2 * LANDMARKS)):
            self.add_module(name, nn.ModuleList(Separable(width, count, rectify=False) for _ in STRIDES))

    def forward(self, image: Tensor) -> list[Level]:
        x = F.max_pool2d(self.first(F.relu(self.stem(image))), 2)
        levels = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _LEVELS:
                levels.append(x)
            if number in _HALVED:
                x = F.max_pool2d(x, 2)
        for place in reversed(range(len(levels))):
            levels[place] = self.lateral[place](levels[place])
            if place:
                levels[place - 1] = levels[place - 1] + F.interpolate(levels[place], scale_factor=2.0, mode="nearest")
        heads = [getattr(self, name) for name in Level._fields]
        return [Level(*(head[place](x) for head in heads)) for place, x in enumerate(levels)]


def load_face_net(path: Path | None = None) -> FaceNet:
    """Return the trained network, frozen, float32 on the CPU, in channels_last.

    `path` is the file of weights, by default the one in the package. Raises WeightsError if it is damaged or of
    another network.
    """
    net = FaceNet()
    file = path or Path(str(resources.files("nst_core"))) / "assets" / WEIGHTS
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    net.load_state_dict(read_network(file, shapes, what="a network that finds faces"))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
