"""The distance of means and covariances against its equation."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst_core.losses.moments import EPS, MomentsLoss, moments
from tests.unit.nst_core.losses.samples import normal, variable

pytestmark = pytest.mark.usefixtures("one_thread")

Array = NDArray[np.float64]


def moments_by_hand(image: Tensor) -> tuple[Array, Array]:
    """Return the mean and covariance over the positions of C x H x W features."""
    points = image.flatten(1).T.numpy()
    mean = points.sum(axis=0) / len(points)
    covariance = np.zeros((len(mean), len(mean)))
    for point in points:
        covariance += np.outer(point - mean, point - mean) / len(points)
    return mean, covariance


def root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T)


def by_hand(features: Tensor, style: Tensor, *, eps: float = EPS) -> float:
    style_mean, style_covariance = moments_by_hand(style[0])
    c = len(style_mean)
    ridge = eps * np.trace(style_covariance) / c * np.eye(c)
    total = 0.0
    for image in features:
        mean, covariance = moments_by_hand(image)
        a, b = covariance + ridge, style_covariance + ridge
        cross = root(root(b) @ a @ root(b))
        total += (((mean - style_mean) ** 2).sum() + np.trace(a + b - 2 * cross)) / c
    return total / len(features)


def test_moments_are_means_over_positions() -> None:
    f = normal(2, 4, 5, 6)
    for values in (f, f.float(), f.to(memory_format=torch.channels_last)):
        mean, covariance = moments(values)
        for image in range(2):
            expected = moments_by_hand(f[image])
            np.testing.assert_allclose(mean[image].numpy(), expected[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(covariance[image].numpy(), expected[1], rtol=1e-5, atol=1e-6)


def test_moments_stay_float32_under_autocast() -> None:
    f = normal(1, 4, 16, 16).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean, covariance = moments(f)
    assert torch.equal(mean, moments(f)[0])
    assert torch.equal(covariance, moments(f)[1])


@pytest.mark.parametrize("size", [(6, 7), (1, 3)])
def test_it_is_the_wasserstein_distance_of_normal_distributions(size: tuple[int, int]) -> None:
    f, style = normal(2, 5, 8, 7), 3 * normal(1, 5, *size, seed=1) + 2
    expected = by_hand(f, style)
    assert MomentsLoss(*moments(style))(f).item() == pytest.approx(expected, rel=1e-9)
    assert MomentsLoss(*moments(style.float()))(f.float()).item() == pytest.approx(expected, rel=1e-5)


def test_the_regularisation_of_covariances_hardly_matters() -> None:
    f, style = normal(2, 5, 8, 7), 3 * normal(1, 5, 6, 7, seed=1) + 2
    assert MomentsLoss(*moments(style))(f).item() == pytest.approx(by_hand(f, style, eps=0), rel=1e-3)


def test_independent_channels_differ_by_means_and_deviations() -> None:
    """For diagonal covariances, W2^2 = sum (m - m_s)^2 + sum (sd - sd_s)^2."""
    corners = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]], dtype=torch.float64)[None, :, None]
    f = corners * torch.tensor([2.0, 5.0])[:, None, None] + 1
    style = corners * torch.tensor([3.0, 1.0])[:, None, None] - 2
    expected = ((3**2 + 3**2) + (2 - 3) ** 2 + (5 - 1) ** 2) / 2
    assert MomentsLoss(*moments(style))(f).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("size", [(12, 12), (2, 3)])
def test_the_loss_of_equal_moments_is_zero(size: tuple[int, int]) -> None:
    """This also holds with fewer positions than channels, where the covariance is singular, and for permuted pixels."""
    style = 100 * normal(1, 16, *size).float()
    loss = MomentsLoss(*moments(style))
    scale = style.square().mean().item()
    assert loss(style).item() == pytest.approx(0, abs=1e-7 * scale)
    assert loss(style.flip(2, 3)).item() == pytest.approx(0, abs=1e-6 * scale)


@pytest.mark.parametrize("size", [(5, 6), (1, 3)])
def test_its_gradient_is_right(size: tuple[int, int]) -> None:
    loss = MomentsLoss(*moments(normal(1, 4, 4, 4, seed=1)))
    assert torch.autograd.gradcheck(loss, variable(normal(2, 4, *size)))


def test_its_gradient_is_right_for_a_singular_style() -> None:
    loss = MomentsLoss(*moments(normal(1, 4, 1, 3, seed=1)))
    assert torch.autograd.gradcheck(loss, variable(normal(1, 4, 5, 6)))


def test_its_gradient_points_to_the_styles_moments() -> None:
    """It is 2 / (C H W) (x - T(x)), where the map T transports one normal distribution to the other."""
    style = torch.einsum("dc,nchw->ndhw", normal(4, 4, seed=2), normal(1, 4, 6, 6, seed=1)) + 1
    x = variable(normal(1, 4, 8, 8))
    (gradient,) = torch.autograd.grad(MomentsLoss(*moments(style))(x), x)
    carried = x.detach() - gradient * x.numel() / 2
    for ours, theirs in zip(moments(carried), moments(style), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
