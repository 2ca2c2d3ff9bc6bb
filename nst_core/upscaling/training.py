"""Trains the network that enlarges pictures, on crops of large ones and what is left of them when they are reduced.

The loss is that of Johnson, Alahi, Fei-Fei 2016, section 4.2, the features of VGG16's relu2_2, in the last steps.
Departures: relu1_2 counts as much, since relu2_2 lies behind a pooling that hides a fine grid; distances are relative
to the features' own size; and there is the mean absolute difference of pixels, alone before the last steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_core.errors import ConfigError
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.tensors import to_tensor
from nst_core.upscaling.network import MARGIN, Factor, UpscaleNet
from nst_core.upscaling.upscaler import Pixels

_LAYERS = ("relu1_2", "relu2_2")
#: How pictures are reduced, since nobody knows how soft the lines of a picture are that is to be enlarged.
_FILTERS = (Image.Resampling.BOX, Image.Resampling.HAMMING, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True, kw_only=True)
class UpscaleConfig:
    """Everything that decides the result of a training, except the pictures."""

    factor: Factor
    steps: int = 8000
    #: The last steps, which have the feature loss.
    feature_steps: int = 2000
    #: The weight of the feature loss beside the mean absolute difference of pixels in 0 to 1.
    feature_weight: float = 0.1
    batch_size: int = 4
    #: The side of the part of a large picture that is compared.
    crop_px: int = 128
    learning_rate: float = 1e-3
    seed: int = 0

    @property
    def read_px(self) -> int:
        """The side of the part of a large picture that is reduced; no picture may be smaller."""
        return self.crop_px + 2 * MARGIN * self.factor


@dataclass(frozen=True, kw_only=True)
class UpscaleLosses:
    """The losses of a step, counted from 1."""

    step: int
    pixels: float
    features: float


def train_upscaler(
    pictures: Sequence[Pixels],
    config: UpscaleConfig,
    *,
    net: UpscaleNet | None = None,
    on_step: Callable[[UpscaleLosses], object] = lambda losses: None,
    stop: Callable[[], bool] = lambda: False,
) -> UpscaleNet:
    """Return a network, trained on H x W x 3 pictures; `net` is one that learns further.

    `stop` is asked after each step: whether that was the last one. Raises ConfigError if the crop is no multiple of the
    factor, or if no picture is large enough for it.
    """
    if config.crop_px % config.factor:
        raise ConfigError(f"crop_px must be a multiple of {config.factor}.", field="crop_px")
    fitting = [each for each in pictures if min(each.shape[:2]) >= config.read_px]
    if not fitting:
        raise ConfigError(f"No picture has at least {config.read_px} pixels on each side.")
    if net is None:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(config.seed)
            net = UpscaleNet(config.factor)
    net = net.to(memory_format=torch.channels_last).train().requires_grad_(True)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    network = load_loss_network(_LAYERS).to(memory_format=torch.channels_last)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (0.01 + 0.99 * (1 + cos(pi * step / config.steps)) / 2)
        small, large = _batch(fitting, config, step)
        made = net(small)
        loss = F.l1_loss(made, large)
        pixels, apart = float(loss.detach()), torch.zeros(())
        if step >= config.steps - config.feature_steps:
            apart = _apart(network, made, large)
            loss = loss + config.feature_weight * apart
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        on_step(UpscaleLosses(step=step + 1, pixels=pixels, features=float(apart.detach())))
        if stop():
            break
    return net.eval().requires_grad_(False)


def _apart(network: LossNetwork, made: Tensor, large: Tensor) -> Tensor:
    """Return |F - P|^2 / |P|^2 for features F of what was made and P of what it should be, added up over the layers."""
    ours, wanted = network(made), {layer: network.target(large, layer) for layer in _LAYERS}
    parts = [F.mse_loss(ours[layer], wanted[layer]) / wanted[layer].square().mean() for layer in _LAYERS]
    return torch.stack(parts).sum()


def _batch(pictures: Sequence[Pixels], config: UpscaleConfig, step: int) -> tuple[Tensor, Tensor]:
    """Return what the network reads and what it should make in a step, which follow from the seed and the step."""
    rng = np.random.default_rng((config.seed, step))
    pairs = [_pair(pictures[int(rng.integers(len(pictures)))], config, rng) for _ in range(config.batch_size)]
    small, large = zip(*pairs, strict=True)
    return torch.cat(small), torch.cat(large)


def _pair(picture: Pixels, config: UpscaleConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    side, cut = config.read_px, MARGIN * config.factor
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    crop = np.rot90(picture[top : top + side, left : left + side], int(rng.integers(4)))
    crop = np.ascontiguousarray(crop[:, ::-1] if rng.integers(2) else crop)
    way = _FILTERS[rng.integers(len(_FILTERS))]
    small = Image.fromarray(crop).resize((side // config.factor,) * 2, way)
    return to_tensor(np.array(small)), to_tensor(np.ascontiguousarray(crop[cut:-cut, cut:-cut]))
