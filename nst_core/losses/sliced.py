"""Style loss on the full distribution of features, by its projections on directions."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nst_core.losses.histogram import CHUNK, match_sorted
from nst_core.losses.precision import widen


class SlicedLoss(nn.Module):
    """Sliced Wasserstein-2 distance of features, mean over directions v and ranks r of (sort(F v)_r - sort(A v)_r)^2.

    Heitz, Vanhoey, Chambon, Belcour 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis". The
    distance is 0 for all v only if F is a permutation of the style's features A. A Gram matrix fixes second moments
    only. As in the authors' program there are as many directions as channels.

    Departures:

    - The directions are an orthonormal basis, turned at random. Independent ones leave parts of the space unseen.
    - They stay until `draw` is called. The authors draw new ones for each evaluation, with a fixed length of step. A
      line search that compares two pictures needs the same directions for both.
    - If the style has another number of positions, rank r of M takes its quantile at (r + 1/2) / M, linearly
      interpolated. The authors repeat the style's values a whole number of times.
    """

    features: Tensor
    directions: Tensor
    target: Tensor

    def __init__(self, features: Tensor, *, seed: int) -> None:
        """Hold the style's features, 1 x C x h x w, and draw the first directions."""
        super().__init__()
        flat = widen(features.detach()).flatten(2)[0]
        self._seed = seed
        self.register_buffer("features", flat)
        self.register_buffer("directions", flat.new_empty(len(flat), len(flat)))
        self.register_buffer("target", torch.empty_like(flat))
        self.draw(0)

    @torch.no_grad()
    def draw(self, number: int) -> None:
        """Draw directions, which follow from the seed and `number` alone."""
        self.directions.copy_(_basis(len(self.features), seed=self._seed, number=number))
        with torch.autocast(self.features.device.type, enabled=False):
            for part, target in zip(*_chunks(self.directions, self.target), strict=True):
                target.copy_((part @ self.features).sort(dim=1).values)

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of N x C x H x W features."""
        loss: Tensor = _Distance.apply(features, self.directions, self.target)
        return loss


class _Distance(torch.autograd.Function):
    """The distance; the gradient is computed along with it, so that no projections have to be kept.

    Ranks are constant while no two values change their order, so dL/dF = 2 / (N C M) sum_v v (F v - R(F v))^T.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, directions: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):  # it would multiply matrices in bfloat16
            flat = widen(features).flatten(2)
            total = flat.new_zeros((), dtype=torch.float64)
            gradient = torch.zeros_like(flat)
            for image, change in zip(flat, gradient, strict=True):
                for part, wanted in zip(*_chunks(directions.to(flat.dtype), target, positions=flat[0, 0]), strict=True):
                    projected = part @ image
                    rest = projected - match_sorted(projected[None], wanted[None])[0]
                    total += rest.square().sum(dtype=torch.float64)
                    if ctx.needs_input_grad[0]:
                        change.addmm_(part.T, rest)
        ctx.save_for_backward(gradient.mul_(2 / flat.numel()))
        ctx.like = features.dtype, features.shape
        return (total / flat.numel()).to(flat.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (own,) = ctx.saved_tensors
        dtype, shape = ctx.like
        return (gradient * own).to(dtype).reshape(shape), None, None


def _chunks(directions: Tensor, target: Tensor, *, positions: Tensor | None = None) -> tuple[tuple[Tensor, ...], ...]:
    """Return both in groups of directions, each with about `CHUNK` projected values."""
    most = max(target.shape[1], 0 if positions is None else len(positions))
    count = max(1, CHUNK // most)
    return torch.split(directions, count), torch.split(target, count)


def _basis(channels: int, *, seed: int, number: int) -> Tensor:
    """Return C orthonormal rows, C x C float64, the same for the same numbers."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
    normal = torch.randn((channels, channels), generator=generator, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(normal).Q
    return basis
