"""Style loss on Gram matrices, plain or guided by a map of where the style applies."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.losses.precision import widen

Normalization = Literal["gatys", "hw", "chw"]


def gram_matrix(features: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Return the Gram matrix F F^T / (H W), N x C x C, of N x C x H x W features.

    With `weights`, N x 1 x H x W or 1 x 1 x H x W and not negative, return the guided Gram matrix,
    sum_p w_p F_p F_p^T / sum_p w_p (Gatys, Ecker, Bethge, Hertzmann, Shechtman 2017, "Controlling Perceptual Factors
    in Neural Style Transfer", guided Gram matrices): there F is multiplied by a guide T with sum_p T_p^2 = 1, so
    w = T^2 up to a factor, which cancels. A guide of zeros gives zeros. Float32 also under autocast, float64 for
    float64 features; ConfigError where the weights do not fit.
    """
    n, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):  # it would multiply matrices in bfloat16
        flat = widen(features).reshape(n, c, h * w)
        if weights is None:
            return flat @ flat.transpose(1, 2) / (h * w)
        if weights.shape not in ((n, 1, h, w), (1, 1, h, w)):
            raise ConfigError(
                f"A guide of shape {tuple(weights.shape)} does not fit features of {tuple(features.shape)}."
            )
        guide = weights.to(flat.dtype).reshape(-1, 1, h * w)
        total = guide.sum(dim=2, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        return (flat * (guide / total)) @ flat.transpose(1, 2)


class GramLoss(nn.Module):
    """Style reconstruction loss, k mean (G - A)^2 over the C x C entries (and the batch), with G = F F^T / (H W).

    The normalisations of the literature differ by the factor k alone. G' = F F^T is not normalised, M = H W:

    - "gatys", k = 1/4 (Gatys, Ecker, Bethge 2016, eq. 4): E = sum (G' - A')^2 / (4 C^2 M^2)
      = sum (G'/M - A'/M)^2 / (4 C^2) = 1/4 mean (G - A)^2. A departure: each Gram is over its own M, where the paper
      has one M for both, so that the style picture may be of another size.
    - "hw", k = 1: mean (G - A)^2, Gatys' own later program.
    - "chw", k = 1/C^2 (Johnson, Alahi, Fei-Fei 2016, eq. 3-4): Grams over C H W, so mean (G/C - A/C)^2
      = mean (G - A)^2 / C^2. A departure: the mean over C x C, as in Johnson's own program, not the squared norm.
    """

    target: Tensor

    def __init__(self, target: Tensor, *, normalization: Normalization) -> None:
        """Hold A, the Gram matrix of the style, 1 x C x C; raise ConfigError for an unknown normalisation."""
        super().__init__()
        if normalization not in get_args(Normalization):
            names = ", ".join(get_args(Normalization))
            raise ConfigError(f"The normalisation of a Gram matrix is one of {names}, not {normalization!r}.")
        self.register_buffer("target", target)
        self.factor = {"gatys": 1 / 4, "hw": 1.0, "chw": 1 / target.shape[-1] ** 2}[normalization]

    def forward(self, features: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of N x C x H x W features, guided by `weights` as in `gram_matrix`."""
        return self.factor * (gram_matrix(features, weights=weights) - self.target).square().mean()
