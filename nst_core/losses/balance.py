"""Loss weights that bring the gradients of all terms to chosen lengths, instead of weights that are tuned by hand.

After Risser, Wilmot, Barnes 2017, "Stable and Controllable Neural Texture Synthesis and Style Transfer Using Histogram
Losses" (automatic tuning of parameters). The gradients of the terms differ by orders of magnitude, and by other factors
for each picture and layer. So the length of a gradient says more than the weight of its term.

Departures: lengths are Euclidean norms over the whole batch, and each is relative to the gradient of another term. The
paper rescales the gradient in every iteration. The result is not the gradient of the reported loss, so a line search
(L-BFGS) cannot use it. With constant weights it can; they are computed once for each size of the picture.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.precision import widen


def gradient_norm(loss: Tensor, at: Tensor) -> Tensor:
    """Return the Euclidean norm of d loss / d at, a constant scalar; the graph is kept and `.grad` is not changed.

    If `at` are the features that the loss was computed from, this needs no pass through the network.
    """
    (gradient,) = torch.autograd.grad(loss, at, retain_graph=True)
    return widen(gradient).square().sum().sqrt()


def balanced_weights(norms: Mapping[str, float], *, reference: str, ratios: Mapping[str, float]) -> dict[str, float]:
    """Return constant weights w_k with |w_k dL_k/dx| = ratio_k |dL_ref/dx|, given the lengths |dL_k/dx|.

    Losses without a ratio, and the reference, have the ratio 1. A loss whose gradient is zero gets the weight 0, since
    no weight changes its length. If the gradient of the reference is zero, all weights are 0. Raises ConfigError for an
    unknown name.
    """
    unknown = {reference, *ratios} - set(norms)
    if unknown:
        raise ConfigError(f"No loss is named {', '.join(sorted(unknown))}.")
    return {name: ratios.get(name, 1.0) * norms[reference] / norm if norm > 0 else 0.0 for name, norm in norms.items()}
