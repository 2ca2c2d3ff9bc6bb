"""Gradients of chosen magnitude, in the place of loss weights that are tuned by hand.

After Risser, Wilmot, Barnes 2017, "Stable and Controllable Neural Texture Synthesis and Style Transfer Using Histogram
Losses" (automatic tuning of parameters): terms differ in their gradients by orders of magnitude, and by others for
each picture and layer, so what is prescribed is not the weight of a term but how long the gradient may be that it
sends back into the features of its layer. Departures: lengths are Euclidean norms over the whole batch; besides the
paper's clipping, a gradient can be brought to the length; and the length may be taken from another term's gradient:

    reference = gradient_norm(gram_loss(features), features)
    loss = gram_loss(features) + histogram_loss(rescale_gradient(features, norm=0.5 * reference))

A rescaled gradient is no longer the gradient of the loss that is reported. Adam does not mind; a line search (L-BFGS)
does: there, compute constant weights with `balanced_weights` once, and again only when the size changes.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst_core.errors import ConfigError
from nst_core.losses.precision import widen

Mode = Literal["clip", "set"]


def gradient_norm(loss: Tensor, at: Tensor) -> Tensor:
    """Return the Euclidean norm of d loss / d at, a constant scalar; the graph is kept, and `.grad` untouched.

    Where `at` are the features that the loss was computed from, this costs no pass through the network.
    """
    (gradient,) = torch.autograd.grad(loss, at, retain_graph=True)
    return widen(gradient).square().sum().sqrt()


def rescale_gradient(values: Tensor, *, norm: Tensor | float, mode: Mode = "clip") -> Tensor:
    """Return the values unchanged, and rescale the gradient that flows back through what is returned.

    "clip": a gradient longer than `norm` is shortened to it, a shorter one is left alone, as in the paper. "set":
    every gradient gets that length. A gradient of zeros stays as it is. Give each loss a rescaled tensor of its own:
    what is rescaled is the sum over the uses of one. ConfigError for another mode.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"A gradient is rescaled by one of {', '.join(get_args(Mode))}, not {mode!r}.")
    limit = torch.as_tensor(norm, device=values.device).detach()
    return cast(Tensor, _RescaleGradient.apply(values, limit, mode))


def balanced_weights(
    losses: Mapping[str, Tensor], *, at: Tensor, reference: str, ratios: Mapping[str, float]
) -> dict[str, float]:
    """Return constant weights w_k with |w_k dL_k/dx| = ratio_k |dL_ref/dx| at the values x = `at`.

    One backward pass per loss. Losses without a ratio have 1, the reference too. A loss whose gradient is zero has the
    weight 0, since none reaches its length; so have all others where it is the reference's. ConfigError for an unknown
    name.
    """
    unknown = {reference, *ratios} - set(losses)
    if unknown:
        raise ConfigError(f"No loss is named {', '.join(sorted(unknown))}.")
    norms = {name: gradient_norm(loss, at).item() for name, loss in losses.items()}
    return {name: ratios.get(name, 1.0) * norms[reference] / norm if norm > 0 else 0.0 for name, norm in norms.items()}


class _RescaleGradient(torch.autograd.Function):
    """The identity, with a gradient of bounded or given length."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, limit: Tensor, mode: Mode) -> Tensor:
        ctx.save_for_backward(limit)
        ctx.mode = mode
        return values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (limit,) = ctx.saved_tensors
        wide = widen(gradient)
        factor = limit.to(wide.dtype) / wide.square().sum().sqrt().clamp_min(torch.finfo(wide.dtype).tiny)
        if ctx.mode == "clip":
            factor = factor.clamp_max(1)
        return (wide * factor).to(gradient.dtype), None, None
