"""Content loss: the image's features against those of the photo."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nst_core.losses.precision import widen


class ContentLoss(nn.Module):
    """Feature reconstruction loss, mean (F - F_content)^2 (Johnson, Alahi, Fei-Fei 2016, eq. 2).

    A departure from Gatys, Ecker, Bethge 2016, eq. 1, which is half of the sum: weights do not depend on sizes here.
    """

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the loss of features against a target, which gets no gradient; N x C x H x W, or broadcast to that."""
        x, wanted = widen(features), widen(target)
        if torch.compiler.is_compiling():
            return F.mse_loss(x, wanted.expand_as(x))
        return cast(Tensor, _MeanSquare.apply(x, wanted))


class _MeanSquare(torch.autograd.Function):
    """The mean of squared differences: the difference is kept, so that each map is read once in each direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, wanted: Tensor) -> Tensor:
        difference = x - wanted
        ctx.save_for_backward(difference)
        length: Tensor = torch.linalg.vector_norm(difference)
        return length.square() / difference.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (2 / difference.numel() * gradient), None
