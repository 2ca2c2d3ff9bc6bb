"""Histogram loss: the values of each channel, as a distribution, against those of the style."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nst_core.losses.precision import widen

#: About as many values are ranked at the same time, but at least those of one channel.
CHUNK = 2**21


def match_histogram(features: Tensor, target: Tensor) -> Tensor:
    """Return R(F): N x C x H x W features, each value replaced by the style's value of the same rank in its channel.

    `target`: the style's features, 1 x C x h x w. With H W = h w, R takes exactly the style's values. Else rank r of
    M = H W takes the style's quantile at (r + 1/2) / M, linearly interpolated ("Hazen"). Equal values are ranked in
    reading order. Not differentiable; float32, or float64 for float64 features.
    """
    return match_sorted(widen(features.detach()), _sorted_values(target))


class HistogramLoss(nn.Module):
    """Histogram loss, mean (F - R(F))^2, R constant in backpropagation.

    Risser, Wilmot, Barnes 2017, "Stable and Controllable Neural Texture Synthesis and Style Transfer Using Histogram
    Losses", section 4.3: ||O - R(O)||_F^2. Departures: the mean instead of the sum, so that weights do not depend on
    the size; ranks instead of a histogram of 256 bins, so that the match is exact.
    """

    target: Tensor

    def __init__(self, target: Tensor) -> None:
        """Hold the sorted values of each channel of the style's features, 1 x C x h x w."""
        super().__init__()
        self.register_buffer("target", _sorted_values(target))

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of N x C x H x W features."""
        loss: Tensor = _Distance.apply(features, self.target)
        return loss


class _Distance(torch.autograd.Function):
    """mean (F - R(F))^2, a few channels at a time; its gradient, 2 (F - R(F)) / (N C M), is computed along with it."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor) -> Tensor:
        flat = widen(features).flatten(2)
        total = flat.new_zeros((), dtype=torch.float64)
        gradient = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        for few in _groups(flat):
            rest = flat[:, few] - match_sorted(flat[:, few], target[:, few])
            total += rest.square().sum(dtype=torch.float64)
            if gradient is not None:
                gradient[:, few] = rest * (2 / flat.numel())
        ctx.save_for_backward(gradient)
        ctx.like = features.dtype, features.shape
        return (total / flat.numel()).to(flat.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (own,) = ctx.saved_tensors
        dtype, shape = ctx.like
        return (gradient * own).to(dtype).reshape(shape), None


def _sorted_values(features: Tensor) -> Tensor:
    """Return 1 x C x h x w features as 1 x C x (h w), each channel in ascending order."""
    flat = widen(features.detach()).flatten(2)
    values = torch.empty_like(flat)
    for few in _groups(flat):
        values[:, few] = flat[:, few].sort(dim=2).values
    return values


def _groups(flat: Tensor) -> Iterator[slice]:
    """Yield groups of the channels of N x C x M, each with about `CHUNK` values."""
    count = max(1, CHUNK // flat.shape[2])
    for first in range(0, flat.shape[1], count):
        yield slice(first, first + count)


def match_sorted(features: Tensor, target: Tensor) -> Tensor:
    """Return `match_histogram` of features, N x C x ..., for values that are in ascending order, 1 x C x m."""
    flat = features.flatten(2)
    ranks = flat.argsort(dim=2, stable=True)  # the position that has each rank
    values = _quantiles(target.to(flat.dtype), flat.shape[2]).expand_as(flat)
    return torch.empty_like(flat).scatter_(2, ranks, values).reshape(features.shape)


def _quantiles(values: Tensor, count: int) -> Tensor:
    """Return `count` evenly spread quantiles, ... x count, of sorted values, ... x m."""
    m = values.shape[-1]
    if m == count:
        return values
    # Float64, since float32 cannot tell neighbouring ranks of large images apart.
    place = (torch.arange(count, dtype=torch.float64, device=values.device) + 0.5) * m / count - 0.5
    place = place.clamp(0, m - 1)
    low = place.floor().long()
    high = (low + 1).clamp_max(m - 1)
    return torch.lerp(values[..., low], values[..., high], (place - low).to(values.dtype))
