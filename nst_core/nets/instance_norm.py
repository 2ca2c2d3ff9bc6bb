"""Instance normalisation in float32 on CPUs, in fewer passes over the memory than torch's operations take."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nst_core.nets import native


def normalized(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, rounding: float, relu: bool) -> Tensor:
    """Return what `transformer.InstanceNorm` says, N x C x H x W, after ReLU if `relu`; C is a multiple of 16.

    `weight` and `bias`: C for all images, or N x C for each one.
    """
    result: Tensor = _Normalized.apply(x, weight, bias, eps, rounding, relu)
    return result


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, rounding: float, relu: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        y = torch.empty_like(x)
        mean, inverse = x.new_empty(n, c), x.new_empty(n, c)
        native.call("normalize", x, weight, bias, y, mean, inverse, n, h * w, c, weight.dim() > 1, eps, rounding, relu)
        ctx.save_for_backward(x, y, weight, mean, inverse)
        ctx.relu = relu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x, y, weight, mean, inverse = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        by_x = torch.empty_like(x)
        by_weight, by_bias = torch.empty_like(mean), torch.empty_like(mean)
        native.call(
            "normalize_gradient",
            *(gradient, x, y, weight, mean, inverse, by_x, by_weight, by_bias),
            *(n, h * w, c, weight.dim() > 1, ctx.relu),
        )
        if weight.dim() == 1:
            by_weight, by_bias = by_weight.sum(0), by_bias.sum(0)
        return by_x, by_weight, by_bias, None, None, None
