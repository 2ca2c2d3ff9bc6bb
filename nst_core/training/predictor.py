"""Trains the network that guesses styles of a family, on paintings, and on photos that it does not know of.

The loss is that of a style of a family. Each painting is seen in several views: cut, mirrored, larger or smaller, and
in other colours, so that a hundred paintings are many styles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from nst_core.errors import ConfigError
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.grid import GridLoss
from nst_core.nets import native
from nst_core.nets.families import joined, one_style
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.style_predictor import (
    LAYERS,
    StylePredictor,
    describe,
    describing_network,
    digest_of_convolutions,
    named,
    numbers_of,
)
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import TransformerNet
from nst_core.training.config import TrainConfig
from nst_core.training.objective import input_grain
from nst_core.training.sources import PhotoSource
from nst_core.training.trainer import photo_stream

#: What a predictor's config has in place of that of a style of a family: its weights are smaller than scales and
#: shifts, so that the rate is lower.
OWN_OPTIONS: dict[str, Any] = {"learning_rate": 6e-4, "warmup_steps": 50, "final_learning_rate": 0.02}
Pixels = npt.NDArray[np.uint8]
#: The longest sides of views, in pixels, beside the size of the config's style pictures.
_SIDES = (0.65, 0.8, 1.0, 1.0, 1.15)
#: The longest side of paintings that views need.
LARGEST_PX = 1536
#: The share of views in other colours.
_RECOLOURED = 0.55
# Make the generators that share a seed independent.
_VIEWS, _PAIRS = 1, 2


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is known of V views of paintings."""

    #: V x NUMBERS
    described: Tensor
    #: By layer, V x C x C.
    grams: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class PredictorLosses:
    """The weighted losses of a step, counted from 1."""

    step: int
    content: float
    style: float
    grid: float


def train_predictor(
    family: TransformerNet,
    paintings: Sequence[Pixels],
    photos: PhotoSource,
    config: TrainConfig,
    *,
    views: int = 6,
    predictor: StylePredictor | None = None,
    on_step: Callable[[PredictorLosses, StylePredictor], object] = lambda losses, predictor: None,
    stop: Callable[[], bool] = lambda: False,
) -> StylePredictor:
    """Return a predictor of styles of a family, whose convolutions stay as they are.

    `paintings`: H x W x 3. The config is that of a style of the family: its losses, steps, photos and learning rate.
    `predictor` is one that learns further. `stop` is asked after each step: whether that was the last one. Raises
    ConfigError without paintings, or if the predictor is for other convolutions.
    """
    if not paintings:
        raise ConfigError("A style predictor needs paintings to learn from.")
    if predictor is not None and not predictor.fits(family):
        raise ConfigError("The predictor to begin with was trained with other convolutions than the family's.")
    network = describing_network([*LAYERS, *config.layers]).to(memory_format=torch.channels_last)
    known = look_at(paintings, network, config, views=views)
    if predictor is None:
        predictor = beginner(family, known, seed=config.seed)
    predictor = predictor.train().requires_grad_(True)
    optimizer = torch.optim.Adam(predictor.parameters(), lr=config.learning_rate)
    objective = _Objective(family, known, network, config)
    stream = photo_stream(config, photos)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        rng = np.random.default_rng((config.seed, _PAIRS, step))
        chosen = torch.from_numpy(rng.integers(0, len(known.described), config.batch_size))
        with native.integers():
            losses = objective(predictor, stream.batch(step), input_grain(config, step), chosen)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(losses.sum())
        optimizer.step()
        content, style, grid = losses.tolist()
        on_step(PredictorLosses(step=step + 1, content=content, style=style, grid=grid), predictor)
        if stop():
            break
    return predictor.eval().requires_grad_(False)


def beginner(family: TransformerNet, known: Views, *, seed: int) -> StylePredictor:
    """Return a predictor that has learned nothing: it guesses the mean of the family's styles for all paintings."""
    styles = numbers_of(family)[: family.config.paintings]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        predictor = StylePredictor(styles.shape[1])
    predictor.mean.copy_(known.described.mean(0))
    predictor.deviation.copy_(known.described.std(0).clamp_min(0.05))
    predictor.usual.copy_(styles.mean(0))
    predictor.spread.copy_(styles.std(0).clamp_min(0.05))
    predictor.convolutions.copy_(digest_of_convolutions(family))
    return predictor


class _Objective(nn.Module):
    """The losses of photos in the styles that a predictor guesses for views."""

    def __init__(self, family: TransformerNet, known: Views, network: LossNetwork, config: TrainConfig) -> None:
        super().__init__()
        self._known, self._network, self._config = known, network, config
        # A network of several styles, whose numbers the guesses take the place of.
        self._net = joined([one_style(family, 0)] * 2).to(memory_format=torch.channels_last)
        self._content, self._grid = ContentLoss(), GridLoss()
        self._style = {layer: GramLoss(known.grams[layer], normalization=config.gram) for layer in config.style_weights}

    def forward(self, predictor: StylePredictor, photos: Tensor, grain: Tensor | None, chosen: Tensor) -> Tensor:
        """Return content, style and grid, weighted."""
        config = self._config
        seen = photos if grain is None else (photos + grain).clamp(0, 1)
        guesses = named(predictor(self._known.described[chosen]), self._net.config)
        output = functional_call(self._net, guesses, (seen, torch.arange(len(photos))))
        features = self._network(output)
        target = self._network.target(photos, config.content_layer)
        weights = config.style_weights.items()
        style = torch.stack([weight * self._style[layer](features[layer], styles=chosen) for layer, weight in weights])
        content = config.content_weight * self._content(features[config.content_layer], target)
        return torch.stack([content, style.sum(), config.grid_weight * self._grid(output)])


@torch.no_grad()
def look_at(paintings: Sequence[Pixels], network: LossNetwork, config: TrainConfig, *, views: int) -> Views:
    """Return what is known of `views` views of each painting, which follow from the config's seed."""
    described, grams = [], []
    for number, painting in enumerate(paintings):
        for index in range(views):
            rng = np.random.default_rng((config.seed, _VIEWS, number, index))
            features = network(view(painting, rng, side_px=config.style_size_px, plain=index == 0))
            described.append(describe([features]))
            grams.append({layer: gram_matrix(features[layer]) for layer in config.style_weights})
    return Views(
        described=torch.stack(described),
        grams={layer: torch.cat([each[layer] for each in grams]) for layer in config.style_weights},
    )


def view(painting: Pixels, rng: np.random.Generator, *, side_px: int, plain: bool) -> Tensor:
    """Return a view of an H x W x 3 painting, 1 x 3 x H' x W' in 0 to 1; a plain one is the painting at that size."""
    height, width = painting.shape[:2]
    if not plain:
        side_px = round(side_px * float(rng.choice(_SIDES)))
        tall, wide = (int(side * rng.uniform(0.65, 1.0)) for side in (height, width))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        painting = painting[top : top + tall, left : left + wide]
        painting = painting[:, ::-1] if rng.integers(2) else painting
    image = Image.fromarray(np.ascontiguousarray(painting))
    factor = side_px / max(image.size)
    size = max(64, round(image.width * factor)), max(64, round(image.height * factor))
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    if not plain and rng.random() < _RECOLOURED:
        pixels = recoloured(pixels, rng)
    return to_tensor(np.array(pixels))


def recoloured(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return H x W x 3 pixels in other colours: exchanged, turned around grey, or stronger or weaker ones."""
    x = pixels.astype(np.float32) / 255
    kind = rng.integers(3)
    if kind == 0:
        x = x[..., rng.permutation(3)]
    elif kind == 1:
        x = x @ _turn(rng.uniform(-pi, pi)).T
    else:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0.2, 1.5)
    return (255 * x.clip(0, 1) ** rng.uniform(0.75, 1.35) + 0.5).astype(np.uint8)


def _turn(angle: float) -> npt.NDArray[np.float32]:
    """Return the rotation of colours around the axis of greys, 3 x 3 (Rodrigues' formula)."""
    own, others, rest = cos(angle), (1 - cos(angle)) / 3, sin(angle) / 3**0.5
    rows = [
        [own + others, others - rest, others + rest],
        [others + rest, own + others, others - rest],
        [others - rest, others + rest, own + others],
    ]
    return np.array(rows, np.float32)
