"""Style loss on the mean and covariance of features, as the distance of two normal distributions."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nst_core.losses.precision import widen

#: The variance that is added to every direction, as a fraction of the style's mean variance.
EPS = 1e-4


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, N x C, and the covariance over positions, N x C x C (divided by H W), of N x C x H x W features.

    Float32 also under autocast, float64 for float64 features.
    """
    with torch.autocast(features.device.type, enabled=False):  # it would multiply matrices in bfloat16
        flat = widen(features).flatten(2)
        mean = flat.mean(dim=2, keepdim=True)
        centred = flat - mean
        return mean[:, :, 0], centred @ centred.transpose(1, 2) / flat.shape[2]


class MomentsLoss(nn.Module):
    """Squared Wasserstein-2 distance of two normal distributions, divided by the number of channels.

    (|m - m_s|^2 + tr(S + S_s - 2 (S_s^1/2 S S_s^1/2)^1/2)) / C, the mean over the batch, with the means m and
    covariances S of the features. This is the style loss and the normalisation of K. Crowson's style-transfer-pytorch
    (2022), after V. Marron, "Style Transfer as Optimal Transport". To both covariances e I is added, as there, so that
    gradients stay finite if one is singular (fewer positions than channels, flat areas). A departure: e is not
    1e-4, but that share of the style's mean variance, so that the loss scales with the square of the features.
    The algebra on C x C matrices is in float64: a square root of a product has half of its digits only.
    """

    mean: Tensor
    covariance: Tensor
    root: Tensor
    ridge: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        """Hold the style's `moments`, 1 x C and 1 x C x C, and its square root."""
        super().__init__()
        wide = covariance.detach().double()
        variance = wide.diagonal(dim1=1, dim2=2).mean()
        ridge = EPS * variance.clamp_min(EPS)  # not zero for a style without any variance
        ridged = _add_to_diagonal(wide, ridge)
        values, vectors = torch.linalg.eigh(ridged)
        self.register_buffer("mean", mean.detach().double())
        self.register_buffer("covariance", ridged)
        self.register_buffer("root", (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.transpose(1, 2))
        self.register_buffer("ridge", ridge)

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of N x C x H x W features."""
        mean, covariance = moments(features)
        with torch.autocast(features.device.type, enabled=False):
            ridged = _add_to_diagonal(covariance.double(), self.ridge)
            product = self.root @ ridged @ self.root
            # Both factors are at least e I, so the eigenvalues are at least e^2, whatever rounding says.
            cross = cast(Tensor, _TraceOfRoot.apply(product, self.ridge.square()))
            traces = (ridged + self.covariance).diagonal(dim1=1, dim2=2).sum(dim=1)
            distance = (mean - self.mean).square().sum(dim=1) + traces - 2 * cross
            return (distance.mean() / mean.shape[1]).to(mean.dtype)


def _add_to_diagonal(matrices: Tensor, value: Tensor) -> Tensor:
    return matrices + value * torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)


class _TraceOfRoot(torch.autograd.Function):
    """tr(M^1/2) = sum of the roots of the eigenvalues, for symmetric matrices M, N x C x C.

    Its derivative is M^(-1/2) / 2: no derivative of eigenvectors, which does not exist where eigenvalues meet.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, floor: Tensor) -> Tensor:
        """Return N traces, with no eigenvalue taken to be less than `floor`, which is positive."""
        values, vectors = torch.linalg.eigh((matrices + matrices.transpose(1, 2)) / 2)
        roots = values.clamp_min(floor).sqrt()
        ctx.save_for_backward(roots, vectors)
        return cast(Tensor, roots.sum(dim=1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        roots, vectors = ctx.saved_tensors
        inverse = (vectors / roots[:, None]) @ vectors.transpose(1, 2)
        return gradient[:, None, None] * inverse / 2, None
