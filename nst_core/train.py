"""Train one transformer network on one style picture (Johnson et al. 2016, section 3).

Training is a plain object with `step()`; its whole state is weights, optimizer moments and a step number, so that a
process may die at any moment and another goes on from the last checkpoint with the same result.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError, WeightsError
from nst_core.loss_network import LossNetwork
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.tv import TVLoss
from nst_core.photos import PhotoStream
from nst_core.transformer import TransformerConfig, TransformerNet

DEFAULT_STYLE_WEIGHTS = {"relu1_2": 5.0, "relu2_2": 5.0, "relu3_3": 5.0, "relu4_3": 5.0}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result of a training, besides the pictures themselves."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    steps: int = 2000
    batch_size: int = 4
    #: Side of the square training crops.
    size_px: int = 256
    #: Longest side of the style picture, as Johnson's `style_image_size`: the strokes of the result grow with it.
    style_size_px: int = 512
    content_layer: str = "relu3_3"
    content_weight: float = 1.0
    #: Weight of each style layer, for Gram / (C H W) and means of squares.
    style_weights: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_STYLE_WEIGHTS))
    tv_weight: float = 0.0
    learning_rate: float = 1e-3
    #: Steps over which the learning rate rises from nothing.
    warmup_steps: int = 50
    #: Fraction of the learning rate for the head. One step of Adam moves all its 81 taps x 32 channels together:
    #: on the unit range that is 255 times the step that the papers' networks take on 0 to 255.
    head_learning_rate: float = 0.1
    #: Fraction of the learning rate that is left at the last step of the cosine decay.
    final_learning_rate: float = 0.05
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values."""
        return asdict(self) | {"transformer": self.transformer.to_dict()}


@dataclass(frozen=True, kw_only=True)
class StepLosses:
    """The weighted losses of one training step; they sum to the quantity that is minimised."""

    step: int
    content: float
    style: float
    tv: float

    @property
    def total(self) -> float:
        return self.content + self.style + self.tv


class PerceptualObjective(nn.Module):
    """The weighted sum of content, style and total-variation losses of a transformer's output."""

    def __init__(self, config: TrainConfig, transformer: TransformerNet, network: LossNetwork, style: Tensor) -> None:
        """Compute the style targets once from the style picture, 1 x 3 x H x W RGB in 0 to 1."""
        super().__init__()
        self.config = config
        self.transformer = transformer
        self.network = network
        with torch.inference_mode():
            features = network(style)
        self.style_losses = nn.ModuleDict(
            {k: GramLoss(gram_matrix(features[k]), normalization="chw") for k in config.style_weights}
        )
        self.content_loss = ContentLoss()
        self.tv_loss = TVLoss()

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted content, style and TV losses, scalars, of a batch of photos, N x 3 x H x W in 0 to 1."""
        config = self.config
        output = self.transformer(photos)
        features = self.network(output)
        with torch.no_grad():
            target = self.network(photos)[config.content_layer]
        content = config.content_weight * self.content_loss(features[config.content_layer], target)
        style = photos.new_zeros(())
        for layer, loss in self.style_losses.items():
            style = style + config.style_weights[layer] * loss(features[layer])
        return content, style, config.tv_weight * self.tv_loss(output)


class Trainer:
    """Runs training steps and saves and restores the full state."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        network: LossNetwork,
        style: Tensor,
        photos: PhotoStream,
        device: torch.device,
        bf16: bool = True,
        compiled: bool = True,
    ) -> None:
        """Prepare a training on `device`; `bf16` and `compiled` trade exactness for about 2.6 times the speed."""
        missing = {config.content_layer, *config.style_weights} - set(network.layers)
        if missing:
            raise ConfigError(f"The loss network was built without {', '.join(sorted(missing))}.")
        torch.manual_seed(config.seed)
        self.config = config
        self.step_number = 0
        self.device = device
        self._bf16 = bf16
        self._photos = photos
        self.transformer = TransformerNet(config.transformer).to(device).to(memory_format=torch.channels_last)
        network = network.to(device).to(memory_format=torch.channels_last)
        objective = PerceptualObjective(config, self.transformer, network, style.to(device))
        self._objective: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = objective.to(device)
        if compiled:
            self._objective = torch.compile(self._objective)
        head = list(self.transformer.head.parameters())
        body = [p for name, p in self.transformer.named_parameters() if not name.startswith("head.")]
        # Each group's share of the learning rate is kept in the group, and the rate itself is set every step.
        self._optimizer = torch.optim.Adam(
            [{"params": body, "share": 1.0}, {"params": head, "share": config.head_learning_rate}],
            lr=config.learning_rate,
        )
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="photos")
        self._next = (0, self._loader.submit(photos.batch, 0))

    @property
    def done(self) -> bool:
        return self.step_number >= self.config.steps

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, with warm-up and cosine decay; Johnson et al. keep it constant."""
        low = self.config.final_learning_rate
        decay = low + (1 - low) * (1 + cos(pi * step / self.config.steps)) / 2
        return self.config.learning_rate * decay * min(1.0, (step + 1) / max(1, self.config.warmup_steps))

    def step(self) -> StepLosses:
        """Run one step of Adam and return its losses."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["share"] * self.learning_rate(self.step_number)
        photos = self._take_batch().to(self.device, memory_format=torch.channels_last)
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            content, style, tv = self._objective(photos)
        torch.autograd.backward(content + style + tv)
        self._optimizer.step()
        self.step_number += 1
        return StepLosses(step=self.step_number, content=content.item(), style=style.item(), tv=tv.item())

    def _take_batch(self) -> Tensor:
        step, future = self._next
        if step != self.step_number:  # a checkpoint was loaded since
            future = self._loader.submit(self._photos.batch, self.step_number)
        batch = future.result()
        self._next = (self.step_number + 1, self._loader.submit(self._photos.batch, self.step_number + 1))
        return batch

    def save(self, path: Path) -> None:
        """Write the full state to `path`, whole or not at all."""
        state = {
            "config": self.config.to_dict(),
            "step": self.step_number,
            "transformer": self.transformer.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a state that `save` wrote; raise WeightsError where it belongs to another config."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != self.config.to_dict():
            raise WeightsError(f"The checkpoint {path} was made with another training config.")
        self.transformer.load_state_dict(state["transformer"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step_number = state["step"]

    def close(self) -> None:
        """Stop the thread that reads photos ahead."""
        self._loader.shutdown(wait=True, cancel_futures=True)
