"""Style weights that are derived from the painting and the photos."""

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
    config: TrainConfig, *, network: LossNetwork, style: Tensor, photos: Tensor, strength: float = 1.0
) -> TrainConfig:
    """Return the config with its style weights scaled by one factor, in four digits.

    Style and content then have equal influence at the start of the training.

    That is where every untrained network begins: at a grey picture. There, the gradient of the style loss by the pixels
    becomes STYLE_PULL * `strength` times as long as that of the content loss. `style` is 1 x 3 x H x W, `photos` N x 3
    x H x W, in 0 to 1. The config keeps its weights if one of the two losses has no gradient there, for example if the
    content has no weight.
    """
    grey = torch.full_like(photos, 0.5).requires_grad_()
    objective = PerceptualObjective(config, _Given(grey), network, style)
    # In a flat picture many values are equal. Rounding errors of the kernels would decide which one is the largest of
    # its pool, and so how long the gradient is.
    with native.unused(), torch.enable_grad():
        content, style_loss, *_ = objective(photos, None)
        (by_content,) = torch.autograd.grad(content, grey, retain_graph=True)
        (by_style,) = torch.autograd.grad(style_loss, grey)
    if not (by_style.any() and by_content.any()):
        return config  # no weight, or the painting or the photos are grey too
    factor = STYLE_PULL * strength * float(by_content.norm() / by_style.norm())
    weights = {layer: float(f"{weight * factor:.4g}") for layer, weight in config.style_weights.items()}
    return replace(config, style_weights=weights)
