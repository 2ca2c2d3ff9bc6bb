"""Structural similarity against scikit-image, and distances of features."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from nst_core.looks.similarity import feature_distance, ssim
from nst_core.nets.tensors import to_tensor
from tests.photos import pictures
from tests.unit.nst_core.training.kit import stripes

PHOTOS = [np.array(image.resize((100, 80))) for _, image in pictures()]


def luminance(image: Tensor) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = np.array([0.299, 0.587, 0.114]) @ image[0].double().numpy().reshape(3, -1)
    return result.reshape(image.shape[2:])


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
def test_ssim_is_that_of_scikit_image(noise: float) -> None:
    for seed, photo in enumerate(PHOTOS):
        a = to_tensor(photo)
        b = (a + noise * torch.randn(a.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)
        expected = structural_similarity(  # type: ignore[no-untyped-call]
            luminance(a), luminance(b), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        assert ssim(a, b) == pytest.approx(expected, abs=1e-6)
        assert ssim(a, b) == pytest.approx(ssim(b, a))


def test_ssim_of_equal_images_is_one_and_of_opposite_ones_below_zero() -> None:
    stripe = stripes().mean(1, keepdim=True).expand(1, 3, 48, 48)
    assert ssim(stripe, stripe) == pytest.approx(1)
    assert ssim(stripe, 1 - stripe) < 0


def test_ssim_of_several_images_is_the_mean_of_each() -> None:
    a = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    b = (a + torch.tensor([0.1, 0.5]).view(2, 1, 1, 1)).clamp(0, 1)
    assert ssim(a, b) == pytest.approx((ssim(a[:1], b[:1]) + ssim(a[1:], b[1:])) / 2)


def test_a_distance_of_features_is_relative_to_the_photo() -> None:
    given = torch.rand(1, 8, 5, 6, generator=torch.Generator().manual_seed(0))
    assert feature_distance(given, given) == 0
    assert feature_distance(3 * given, given) == pytest.approx(2)
    assert feature_distance(30 * given, 10 * given) == pytest.approx(2)
