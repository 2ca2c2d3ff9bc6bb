"""Small pictures, a shallow config and optimisers for the tests of optimisations."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nst_core.gatys.config import GatysConfig
from nst_core.gatys.optimizer import GatysOptimizer
from nst_core.gatys.sources import StyleSource
from nst_core.nets.tensors import to_tensor
from tests.photos import pictures

CPU = torch.device("cpu")
#: Two layers near the pixels, which are fast and change the colours at once.
SHALLOW = GatysConfig(
    content={"relu2_1": 1.0}, gram={"relu1_1": 0.1, "relu2_1": 0.01}, size_px=48, style_size_px=48, iterations=6
)


def shallow(**fields: Any) -> GatysConfig:
    """Return the shallow config with changed values."""
    return replace(SHALLOW, **fields)


@cache
def photo(name: str, *, width: int = 48, height: int = 40) -> Tensor:
    """Return a real picture (astronaut, coffee, chelsea), reduced, 1 x 3 x H x W. Do not write to it."""
    import numpy as np

    image = dict(pictures())[name].resize((width, height))
    return to_tensor(np.array(image))


def content() -> Tensor:
    """Return the content picture."""
    return photo("astronaut")


def style() -> Tensor:
    """Return the style picture, which has another size."""
    return photo("coffee", width=56, height=48)


def make(
    config: GatysConfig,
    *,
    content_image: Tensor | None = None,
    styles: Sequence[StyleSource] | None = None,
    **more: Any,
) -> GatysOptimizer:
    """Return an optimiser for the small pictures, in float32 unless `more` sets another type."""
    return GatysOptimizer(
        config,
        content=content() if content_image is None else content_image,
        styles=[StyleSource(image=style())] if styles is None else styles,
        device=CPU,
        **{"precision": "fp32"} | more,
    )


def run(optimizer: GatysOptimizer) -> list[float]:
    """Run to the end and return the total loss after each iteration."""
    totals = []
    while not optimizer.done:
        totals.append(optimizer.step().total)
    return totals


def finish(config: GatysConfig, **more: Any) -> Tensor:
    """Return the result of an optimisation of the small pictures."""
    optimizer = make(config, **more)
    run(optimizer)
    return optimizer.result()


def is_sound(image: Tensor) -> bool:
    """Return whether a picture has finite values in 0 to 1 and is not black."""
    return bool(image.isfinite().all() and (image >= 0).all() and (image <= 1).all() and image.mean() > 0.02)
