"""Nearest patches: which patch of one feature map resembles most each patch of another, in bounded memory."""

from collections.abc import Iterator
from math import isqrt

import torch
from torch import Tensor

from nst_core.errors import ConfigError


def patch_count(length: int, patch: int, stride: int) -> int:
    """Return how many patches at every stride-th position fit a side of that length."""
    return (length - patch) // stride + 1


def positions(offset: int, count: int, stride: int) -> slice:
    """Return the positions on a side of the elements at `offset` within each of `count` patches."""
    return slice(offset, offset + (count - 1) * stride + 1, stride)


@torch.no_grad()
def match_patches(
    features: Tensor, style: Tensor, *, patch: tuple[int, int], stride: int, max_bytes: int
) -> tuple[Tensor, Tensor]:
    """Return for each patch of the features, C x H x W, the top and left of the style's best patch, rows x columns.

    `style` is C x h x w. `patch` is the height and width of a patch, which fits both maps. The best patch has the
    largest normalised cross-correlation (Li & Wand 2016, eq. 3). Here that is the dot product with the style's patch,
    divided by the norm of that patch; the norm of the features' patch does not change the choice. A style's patch of
    zeros has the similarity 0. At most `max_bytes` are used at a time. Raises ConfigError if that is too little to
    compare one row of patches with another.
    """
    (_, height, width), (_, style_height, style_width) = features.shape, style.shape
    norms = _norms(style, patch, stride)
    rows, columns = patch_count(height, patch[0], stride), patch_count(width, patch[1], stride)
    best = features.new_full((rows, columns), -torch.inf)
    top, left = best.new_zeros(best.shape, dtype=torch.long), best.new_zeros(best.shape, dtype=torch.long)
    # Three arrays exist at the same time: products of positions, and their sums along rows and along both sides.
    pair_bytes = 3 * features.element_size() * width * style_width
    n, m = _piece_rows(max_bytes // pair_bytes, (height, style_height), patch[0], stride)
    if n < 1:
        needed = pair_bytes * patch[0] ** 2
        raise ConfigError(f"The patches of this size need {needed} bytes at least, more than the {max_bytes} allowed.")
    with torch.autocast(features.device.type, enabled=False):  # it would multiply matrices in bfloat16
        for y, piece in _pieces(features, n, patch[0], stride):
            for style_y, style_piece in _pieces(style, m, patch[0], stride):
                similar = _dot_products(piece, style_piece, patch, stride)
                similar /= norms[style_y : style_y + similar.shape[2]]
                found, index = similar.flatten(2).max(dim=2)
                here = slice(y, y + found.shape[0])
                better = found > best[here]
                best[here] = torch.where(better, found, best[here])
                top[here] = torch.where(better, (style_y + index // norms.shape[1]) * stride, top[here])
                left[here] = torch.where(better, index % norms.shape[1] * stride, left[here])
    return top, left


def _norms(style: Tensor, patch: tuple[int, int], stride: int) -> Tensor:
    """Return the Euclidean norm of each patch, rows x columns."""
    squares = style.square().sum(dim=0)
    rows, columns = (patch_count(n, k, stride) for n, k in zip(squares.shape, patch, strict=True))
    total = squares.new_zeros((rows, columns))
    for dy in range(patch[0]):
        for dx in range(patch[1]):
            total += squares[positions(dy, rows, stride), positions(dx, columns, stride)]
    return total.sqrt().clamp_min(torch.finfo(total.dtype).tiny)


def _piece_rows(pairs: int, heights: tuple[int, int], patch: int, stride: int) -> tuple[int, int]:
    """Return how many rows of patches a piece of either map has, so that it has at most `pairs` pairs of rows.

    If the pieces of both maps are about equally high, they share the fewest rows with their neighbours.
    """
    style_high = min(heights[1], max(patch, isqrt(pairs)))
    style_rows = patch_count(style_high, patch, stride)
    high = min(heights[0], pairs // ((style_rows - 1) * stride + patch))
    return patch_count(high, patch, stride) if high >= patch else 0, style_rows


def _pieces(features: Tensor, rows: int, patch: int, stride: int) -> Iterator[tuple[int, Tensor]]:
    """Cut a map into pieces of `rows` rows of patches; yield the number of the first row and the piece, C x a x W."""
    total = patch_count(features.shape[1], patch, stride)
    for first in range(0, total, rows):
        last = min(first + rows, total) - 1
        yield first, features[:, first * stride : last * stride + patch]


def _dot_products(features: Tensor, style: Tensor, patch: tuple[int, int], stride: int) -> Tensor:
    """Return the dot products of all patches with all patches, rows x columns x style rows x style columns.

    The products of single positions are computed once and summed over the patches, first along rows and then along
    columns. So a patch of k x k takes C multiplications and 2 (k - 1) additions, instead of k^2 C multiplications.
    """
    (_, a, width), (_, b, style_width) = features.shape, style.shape
    # (a W) x (b w)
    products = (features.flatten(1).T @ style.flatten(1)).view(a, width, b, style_width)
    columns, style_columns = (patch_count(n, patch[1], stride) for n in (width, style_width))
    total = products[:, positions(0, columns, stride), :, positions(0, style_columns, stride)].clone()
    for dx in range(1, patch[1]):
        total += products[:, positions(dx, columns, stride), :, positions(dx, style_columns, stride)]
    rows, style_rows = (patch_count(n, patch[0], stride) for n in (a, b))
    result = total[positions(0, rows, stride), :, positions(0, style_rows, stride)].clone()
    for dy in range(1, patch[0]):
        result += total[positions(dy, rows, stride), :, positions(dy, style_rows, stride)]
    return result
