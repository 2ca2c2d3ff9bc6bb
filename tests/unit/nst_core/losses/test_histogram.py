"""Histogram matching and its loss, compared with a slow implementation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_core.losses.histogram import HistogramLoss, match_histogram
from tests.unit.nst_core.losses.samples import normal, uniform, variable

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(4, 5), (3, 3), (9, 8), (1, 7), (1, 1)]


def by_hand(features: Tensor, style: Tensor) -> Tensor:
    """Return for each value the style's quantile at the middle of its rank."""
    n, c, h, w = features.shape
    matched = np.empty((n, c, h * w))
    for image in range(n):
        for channel in range(c):
            values = features[image, channel].flatten().numpy()
            for rank, place in enumerate(np.argsort(values, kind="stable")):
                quantile = (rank + 0.5) / (h * w)
                matched[image, channel, place] = np.quantile(style[0, channel].numpy(), quantile, method="hazen")
    return torch.from_numpy(matched).reshape(features.shape)


@pytest.mark.parametrize("size", SIZES)
def test_each_value_becomes_the_styles_value_of_its_rank(size: tuple[int, int]) -> None:
    f, style = normal(2, 3, 4, 5), uniform(1, 3, *size, seed=1)
    torch.testing.assert_close(match_histogram(f, style), by_hand(f, style), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        match_histogram(f.float(), style.float()).double(), by_hand(f, style), rtol=1e-5, atol=1e-6
    )


def test_equal_sizes_give_exactly_the_styles_values() -> None:
    f, style = normal(1, 3, 6, 10).float(), normal(1, 3, 12, 5, seed=1).float()
    matched = match_histogram(f, style)
    assert torch.equal(matched.flatten(2).sort(dim=2).values, style.flatten(2).sort(dim=2).values)
    assert torch.equal(matched.flatten(2).argsort(dim=2), f.flatten(2).argsort(dim=2))


@pytest.mark.parametrize("size", [(17, 13), (50, 60)])
def test_unequal_sizes_have_the_styles_quantiles(size: tuple[int, int]) -> None:
    f, style = normal(1, 2, 30, 40), uniform(1, 2, *size, seed=1).square()
    matched = match_histogram(f, style)
    levels = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    torch.testing.assert_close(
        matched.flatten(2).quantile(levels, dim=2), style.flatten(2).quantile(levels, dim=2), rtol=0, atol=0.01
    )


def test_equal_values_are_ranked_in_reading_order() -> None:
    f = torch.tensor([[0.0, 0.0, 5.0], [0.0, 5.0, 0.0]])[None, None]
    style = torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])[None, None]
    assert match_histogram(f, style).tolist() == [[[[1.0, 2.0, 5.0], [3.0, 6.0, 4.0]]]]


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_is_the_mean_square_of_the_changes_by_matching(size: tuple[int, int]) -> None:
    f, style = normal(2, 3, 4, 5), uniform(1, 3, *size, seed=1)
    expected = (f - by_hand(f, style)).square().mean().item()
    assert HistogramLoss(style)(f).item() == pytest.approx(expected, rel=1e-12)
    assert HistogramLoss(style.float())(f.float()).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_treats_the_matched_values_as_constant() -> None:
    style = uniform(1, 3, 3, 7, seed=1)
    ours, theirs = variable(normal(2, 3, 4, 5)), variable(normal(2, 3, 4, 5))
    constant = by_hand(theirs.detach(), style)
    assert torch.autograd.gradcheck(lambda f: (f - constant).square().mean(), theirs)
    (expected,) = torch.autograd.grad((theirs - constant).square().mean(), theirs)
    (gradient,) = torch.autograd.grad(HistogramLoss(style)(ours), ours)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


def test_its_gradient_is_right() -> None:
    """R depends only on the ranks, so it is constant while no two values change their order."""
    f = (torch.randperm(120, generator=torch.Generator().manual_seed(0)).double() / 10).reshape(2, 3, 4, 5)
    assert torch.autograd.gradcheck(HistogramLoss(normal(1, 3, 3, 7, seed=1)), variable(f))


def test_the_loss_of_the_style_to_itself_or_its_permuted_pixels_is_zero() -> None:
    style = normal(1, 3, 4, 5).float()
    loss = HistogramLoss(style)
    assert loss(style).item() == 0
    assert loss(style.flip(2, 3)).item() == 0


def test_the_loss_is_the_same_in_either_memory_format() -> None:
    f, loss = normal(2, 8, 6, 5).float(), HistogramLoss(normal(1, 8, 4, 4, seed=1).float())
    torch.testing.assert_close(loss(f.to(memory_format=torch.channels_last)), loss(f))
