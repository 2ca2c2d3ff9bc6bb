"""Helpers for the tests of training: tiny configs, photos in memory, and trainers that are closed at the end."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from nst_core.errors import ImageDecodeError
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.transformer import TransformerConfig
from nst_core.training.config import TrainConfig
from nst_core.training.step_losses import StepLosses
from nst_core.training.trainer import Trainer

TINY = TrainConfig(
    transformer=TransformerConfig(width=4, blocks=1),
    steps=40,
    batch_size=2,
    size_px=32,
    style_size_px=48,
    content_layer="relu1_2",
    style_weights={"relu1_2": 1e-3, "relu2_1": 1e-3},
    warmup_steps=4,
    learning_rate=5e-3,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture's bytes."""
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def soft_picture(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Return a picture of soft colour blobs."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)


class MemoryPhotos:
    """Photos as bytes in memory. Counts how often each is read."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.reads: list[str] = []

    @property
    def names(self) -> Sequence[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        self.reads.append(name)
        if not self.files[name]:
            raise ImageDecodeError("The file cannot be read.")
        return self.files[name]


def soft_photos(count: int = 5) -> MemoryPhotos:
    """Return some photos of soft colour blobs."""
    return MemoryPhotos({f"{number}.png": encoded(soft_picture(number)) for number in range(count)})


def stripes() -> torch.Tensor:
    """Return a style picture, 1 x 3 x 48 x 48."""
    lines = torch.arange(48).remainder(8).lt(4).float().expand(1, 3, 48, 48)
    return lines * torch.tensor([1.0, 0.5, 0.1]).view(1, 3, 1, 1)


class Trainers:
    """Makes trainers with the same settings, and closes them at the end."""

    def __init__(self, network: LossNetwork) -> None:
        self.network = network
        self.made: list[Trainer] = []

    def __call__(self, config: TrainConfig = TINY, *, photos: MemoryPhotos | None = None, **changes: Any) -> Trainer:
        options = {"style": stripes(), "device": torch.device("cpu"), "precision": "fp32", "compiled": False, **changes}
        trainer = Trainer(config, network=self.network, photos=photos or soft_photos(), **options)
        self.made.append(trainer)
        return trainer


def with_network(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Return a config with a changed transformer."""
    return replace(config, transformer=replace(config.transformer, **changes))


def take_steps(trainer: Trainer, count: int) -> list[StepLosses]:
    """Run some steps and return their losses."""
    return [trainer.step() for _ in range(count)]
