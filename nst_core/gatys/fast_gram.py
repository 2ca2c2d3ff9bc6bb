"""The Gram matrix of features, with a backward pass of its own that takes half of the time.

Half of the time of a step goes into Gram matrices where they are taken of the first layers, of many positions.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Positions that are summed in bfloat16: the sums of so many are rounded once, and then added up in float32.
PIECE = 2048


def gram(features: Tensor, guide: Tensor | None = None) -> Tensor:
    """Return what `losses.gram.gram_matrix` does, N x C x C float32, of N x C x H x W features of any type.

    `guide`, 1 x 1 x H x W, weighs the positions. Bfloat16 features are multiplied as such, in pieces, so that the
    error of the sum over all positions is far below that of its terms. Float32 where the features are.
    """
    share = None if guide is None else (guide / guide.sum()).flatten(2).transpose(1, 2).to(features.dtype)  # 1, HW, 1
    return cast(Tensor, _Gram.apply(features, share))


class _Gram(torch.autograd.Function):
    """G = F^T diag(w) F; its derivative is dF = diag(w) F (dG + dG^T), one product where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, share: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, share)
        rows = _rows(features)
        wide = torch.promote_types(features.dtype, torch.float32)
        left = rows if share is None else rows * share
        total = features.new_zeros((rows.shape[0], rows.shape[2], rows.shape[2]), dtype=wide)
        piece = rows.shape[1] if features.dtype == wide else PIECE
        for a, b in zip(torch.split(left, piece, 1), torch.split(rows, piece, 1), strict=True):
            total += (a.transpose(1, 2) @ b).to(wide)
        return total / rows.shape[1] if share is None else total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        features, share = ctx.saved_tensors
        n, c, h, w = features.shape
        both = gradient + gradient.transpose(1, 2)
        rows = _rows(features)
        if share is None:
            result = rows @ (both / rows.shape[1]).to(features.dtype)
        else:
            result = rows @ both.to(features.dtype) * share
        return result.reshape(n, h, w, c).permute(0, 3, 1, 2), None


def _rows(features: Tensor) -> Tensor:
    """Return the features as N x HW x C: a view where they are in channels_last memory format."""
    n, c, h, w = features.shape
    return features.permute(0, 2, 3, 1).reshape(n, h * w, c)
