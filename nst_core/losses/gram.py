"""Style loss on Gram matrices, plain or guided by a map of where the style applies."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.nets import native
from nst_core.nets.operators import uncompiled
from nst_core.nets.packed import COLUMNS, packed

Normalization = Literal["gatys", "hw", "chw", "relative"]

#: The number of positions that are summed in bfloat16; these partial sums are then added in float32.
PIECE = 2048


def gram_matrix(features: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Return the Gram matrix F F^T / (H W), N x C x C, of N x C x H x W features.

    With `weights`, N x 1 x H x W or 1 x 1 x H x W and not negative, return the guided Gram matrix,
    sum_p w_p F_p F_p^T / sum_p w_p (Gatys, Ecker, Bethge, Hertzmann, Shechtman 2017, "Controlling Perceptual Factors
    in Neural Style Transfer", guided Gram matrices). The paper multiplies F by a guide T with sum_p T_p^2 = 1. So w is
    T^2 times a factor, which cancels here. If all weights are 0, so is the result.

    The result is float32, or float64 for float64 features. Products of bfloat16 features are summed in bfloat16 over
    pieces of the positions, and the pieces are summed in float32, so that rounding errors do not add up. The weights
    get no gradient. Raises ConfigError if their shape does not fit.
    """
    n, _, h, w = features.shape
    if weights is None:
        share = features.new_full((1, 1, 1, 1), 1 / (h * w), dtype=_wide(features))
    elif weights.shape not in ((n, 1, h, w), (1, 1, h, w)):
        raise ConfigError(f"A guide of shape {tuple(weights.shape)} does not fit features of {tuple(features.shape)}.")
    else:
        guide = weights.to(_wide(features))
        share = guide / guide.sum(dim=(2, 3), keepdim=True).clamp_min(torch.finfo(guide.dtype).tiny)
    product = _gram if torch.compiler.is_compiling() else _eager_gram
    return cast(Tensor, product(features, share.flatten(2).transpose(1, 2)))


def _product(features: Tensor, share: Tensor) -> Tensor:
    """Return G = F^T diag(s) F for the shares s of the positions, 1 or N x 1 or HW x 1."""
    rows = _rows(features)
    wide = _wide(features)
    even = share.shape[1] == 1
    if even and native.usable(rows, rows.shape[2]):
        result = rows.new_empty((len(rows), rows.shape[2], rows.shape[2]))
        native.call("gram", rows.contiguous(), result, *rows.shape, int(native.multiplies_integers()))
        return result * share
    left = rows if even else rows * share.to(rows.dtype)
    total = rows.new_zeros((rows.shape[0], rows.shape[2], rows.shape[2]), dtype=wide)
    piece = rows.shape[1] if rows.dtype == wide else PIECE
    with torch.autocast(features.device.type, enabled=False):  # it would multiply float32 in half precision
        for a, b in zip(torch.split(left, piece, 1), torch.split(rows, piece, 1), strict=True):
            total += (a.transpose(1, 2) @ b).to(wide)
    return total * share if even else total


#: An operator, which the compiler does not change. Compiled in parts, it would take several times as long.
_gram = torch.library.custom_op("nst::gram", _product, mutates_args=())


@_gram.register_fake
def _(features: Tensor, share: Tensor) -> Tensor:
    n, c = features.shape[:2]
    return features.new_empty((n, c, c), dtype=_wide(features))


def _gradient(gradient: Tensor, features: Tensor, share: Tensor) -> Tensor:
    """Return dF = diag(s) F (dG + dG^T), in one product; the derivative of the parts of `_product` would take two."""
    n, c, h, w = features.shape
    both = gradient + gradient.transpose(1, 2)
    rows = _rows(features)
    if share.shape[1] > 1:
        result = rows @ both.to(rows.dtype) * share.to(rows.dtype)
    elif native.usable(rows, c) and h * w >= native.ROWS:
        # No view, so that autograd may add other gradients in place.
        made = torch.empty((n, c, h, w), memory_format=torch.channels_last)
        blocks = (both * share).view(n, c, c // COLUMNS, COLUMNS).transpose(1, 2).reshape(-1, 1, c, COLUMNS)
        matrices = packed(blocks, integers=native.multiplies_integers())
        native.call("gram_gradient", rows.contiguous(), *matrices.arguments, made, *rows.shape)
        return made.to(features.dtype)
    else:
        result = rows @ (both * share).to(rows.dtype)
    return result.to(features.dtype).reshape(n, h, w, c).permute(0, 3, 1, 2)


_gram_backward = torch.library.custom_op("nst::gram_backward", _gradient, mutates_args=())


@_gram_backward.register_fake
def _(gradient: Tensor, features: Tensor, share: Tensor) -> Tensor:
    return torch.empty_like(features, memory_format=torch.channels_last)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(backward: Callable[..., Tensor]) -> Callable[..., Any]:
    return lambda ctx, gradient: (backward(gradient, *ctx.saved_tensors), None)


_gram.register_autograd(_differentiate(_gram_backward), setup_context=_keep)
_eager_gram = uncompiled(_product, _keep, _differentiate(_gradient))


def _rows(features: Tensor) -> Tensor:
    """Return the features as N x HW x C: a view if they are in channels_last memory format.

    Float16 becomes float32, because squares of activations exceed the range of float16.
    """
    n, c, h, w = features.shape
    rows = features.permute(0, 2, 3, 1).reshape(n, h * w, c)
    return rows.float() if rows.dtype == torch.float16 else rows


def _wide(features: Tensor) -> torch.dtype:
    return torch.promote_types(features.dtype, torch.float32)


class GramLoss(nn.Module):
    """Style reconstruction loss, k mean (G - A)^2 over the C x C entries (and the batch), with G = F F^T / (H W).

    The normalisations in the literature differ only by the factor k. With G' = F F^T, which is not normalised, and
    M = H W:

    - "gatys", k = 1/4 (Gatys, Ecker, Bethge 2016, eq. 4): E = sum (G' - A')^2 / (4 C^2 M^2)
      = sum (G'/M - A'/M)^2 / (4 C^2) = 1/4 mean (G - A)^2. A departure: each Gram matrix is divided by its own M, so
      that the style picture may have another size. The paper has one M for both.
    - "hw", k = 1: mean (G - A)^2, as in Gatys' own later program.
    - "chw", k = 1/C^2 (Johnson, Alahi, Fei-Fei 2016, eq. 3-4): Gram matrices are divided by C H W, so the loss is
      mean (G/C - A/C)^2 = mean (G - A)^2 / C^2. A departure: the mean over C x C, as in Johnson's own program, instead
      of the squared norm.
    - "relative", k = 1 / mean A^2, which is in no paper: |G - A|^2 / |A|^2, 1 for features of 0. In "chw" the
      losses of VGG16's layers differ by a factor of 100,000 and more, and those with large strokes count for nothing.
    """

    target: Tensor
    weights: Tensor
    factor: Tensor

    def __init__(self, target: Tensor, *, normalization: Normalization, weights: Sequence[float] = ()) -> None:
        """Hold A, the Gram matrix of the style, 1 x C x C, or those of several, S x C x C, with a weight each or 1.

        Raises ConfigError for an unknown normalisation.
        """
        super().__init__()
        if normalization not in get_args(Normalization):
            names = ", ".join(get_args(Normalization))
            raise ConfigError(f"The normalisation of a Gram matrix is one of {names}, not {normalization!r}.")
        self.register_buffer("target", target)
        self.register_buffer("weights", target.new_tensor(weights or [1.0] * len(target)))
        self.register_buffer("factor", _factor(target, normalization))

    def forward(self, features: Tensor, weights: Tensor | None = None, *, styles: Tensor | None = None) -> Tensor:
        """Return the loss of N x C x H x W features, guided by `weights` as in `gram_matrix`.

        `styles`, N whole numbers, are those of the images if there are several.
        """
        gram = gram_matrix(features, weights=weights)
        if styles is None:
            return self.of_gram(gram)
        each = (gram - self.target[styles]).square().mean((1, 2))
        return (self.factor[styles] * self.weights[styles] * each).mean()

    def of_gram(self, gram: Tensor) -> Tensor:
        """Return the loss of Gram matrices, N x C x C, for one style."""
        return (self.factor * (gram - self.target).square().mean((1, 2))).mean()


def _factor(target: Tensor, normalization: Normalization) -> Tensor:
    """Return k of each style, S numbers, for its Gram matrices, S x C x C."""
    squares = target.square().mean((1, 2))
    if normalization == "relative":
        return 1 / squares.clamp_min(torch.finfo(target.dtype).tiny)
    return torch.full_like(squares, {"gatys": 1 / 4, "hw": 1.0, "chw": 1 / target.shape[-1] ** 2}[normalization])
