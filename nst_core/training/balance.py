"""Style weights that are derived from the painting and the photos."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nst_core.nets import native
from nst_core.nets.loss_network import LossNetwork
from nst_core.training.config import TrainConfig
from nst_core.training.objective import PerceptualObjective

#: Ratio of the style loss's gradient to the content loss's at a grey picture, for strength 1. Johnson's weights 1 and 5
#: have this effect for Hokusai's wave, to a fifth of it for The Scream, and to five times as much for The Starry Night.
STYLE_PULL = 3.3


class _Given(nn.Module):
    """Replaces a network: its output is a given picture for any photos."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, photos: Tensor) -> Tensor:
        return self.picture


def balanced(
    config: TrainConfig,
    *,
    network: LossNetwork,
    style: Tensor | Sequence[Tensor],
    photos: Tensor,
    strength: float = 1.0,
) -> TrainConfig:
    """Return the config with its style weights scaled by one factor, in four digits.

    Style and content then have equal influence at the start of the training.

    That is where every untrained network begins: at a grey picture. There, the gradient of the style loss by the pixels
    becomes STYLE_PULL * `strength` times as long as that of the content loss. `style` is 1 x 3 x H x W, `photos` N x 3
    x H x W, in 0 to 1. The config keeps its weights if one of the two losses has no gradient there, for example if the
    content has no weight. If the config has several paintings, `style` is one picture for each, and the factors are
    its `style_factors`.
    """
    styles = [style] if isinstance(style, Tensor) else style
    factors = [
        _factor(config.of_painting(index), network=network, style=each, photos=photos, strength=strength)
        for index, each in enumerate(styles)
    ]
    if config.transformer.styles == 1:
        weights = {layer: float(f"{weight * factors[0]:.4g}") for layer, weight in config.style_weights.items()}
        return replace(config, style_weights=weights) if factors[0] != 1 else config
    before = config.style_factors or [1.0] * len(factors)
    return replace(config, style_factors=tuple(float(f"{a * b:.4g}") for a, b in zip(before, factors, strict=True)))


def _factor(config: TrainConfig, *, network: LossNetwork, style: Tensor, photos: Tensor, strength: float) -> float:
    """Return the factor of the style weights; 1 if there is none."""
    grey = torch.full_like(photos, 0.5).requires_grad_()
    objective = PerceptualObjective(config, _Given(grey), network, style)
    # In a flat picture many values are equal. Rounding errors of the kernels would decide which one is the largest of
    # its pool, and so how long the gradient is.
    with native.unused(), torch.enable_grad():
        content, style_loss, *_ = objective(photos, None)
        (by_content,) = torch.autograd.grad(content, grey, retain_graph=True)
        (by_style,) = torch.autograd.grad(style_loss, grey)
    if not (by_style.any() and by_content.any()):
        return 1.0  # no weight, or the painting or the photos are grey too
    return STYLE_PULL * strength * float(by_content.norm() / by_style.norm())
