"""Colours: separate luminance and chrominance, and linear maps of the style's colours to the content's."""

import pytest
import torch
from torch import Tensor

from nst_core.gatys.color import luminance, match_colors, match_luminance, with_luminance
from tests.unit.nst_core.gatys.kit import content, style
from tests.unit.nst_core.losses.samples import uniform

pytestmark = pytest.mark.usefixtures("one_thread")

#: RGB to YIQ, as NTSC defined it.
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=torch.float64)


def chrominance(image: Tensor) -> Tensor:
    """Return I and Q of a picture."""
    return torch.einsum("kc,nchw->nkhw", YIQ, image.double())[:, 1:]


def mean_and_covariance(image: Tensor) -> tuple[Tensor, Tensor]:
    pixels = image[0].flatten(1).double()
    return pixels.mean(1), torch.cov(pixels, correction=0)


def test_luminance_is_the_weighted_sum_of_the_channels() -> None:
    image = content()
    expected = 0.299 * image[:, :1] + 0.587 * image[:, 1:2] + 0.114 * image[:, 2:]
    torch.testing.assert_close(luminance(image), expected)
    torch.testing.assert_close(luminance(torch.full((1, 3, 2, 2), 0.25)), torch.full((1, 1, 2, 2), 0.25))


def test_another_luminance_does_not_change_the_chrominance() -> None:
    image, y = content(), uniform(1, 1, 40, 48).float()
    changed = with_luminance(image, y)
    torch.testing.assert_close(luminance(changed), y)
    torch.testing.assert_close(chrominance(changed), chrominance(image), rtol=0, atol=2e-4)
    torch.testing.assert_close(with_luminance(image, luminance(image)), image)


def test_a_styles_luminance_gets_the_mean_and_deviation_of_the_contents() -> None:
    matched, target = match_luminance(style(), content()), luminance(content())
    assert matched.shape == luminance(style()).shape
    assert matched.mean().item() == pytest.approx(target.mean().item(), abs=1e-5)
    assert matched.std().item() == pytest.approx(target.std().item(), rel=1e-3)
    own = luminance(style())
    assert torch.corrcoef(torch.stack([matched.flatten(), own.flatten()]))[0, 1].item() == pytest.approx(1, abs=1e-4)


def test_a_style_of_one_luminance_moves_to_the_mean() -> None:
    matched = match_luminance(torch.full((1, 3, 8, 8), 0.25), content())
    torch.testing.assert_close(matched, luminance(content()).mean().expand_as(matched))


def test_a_recoloured_style_has_the_mean_and_covariance_of_the_content() -> None:
    recoloured = match_colors(style(), content())
    assert recoloured.dtype == torch.float32
    assert recoloured.shape == style().shape
    for own, wanted in zip(mean_and_covariance(recoloured), mean_and_covariance(content()), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-6)
    exact = match_colors(style().double(), content().double())
    for own, wanted in zip(mean_and_covariance(exact), mean_and_covariance(content()), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-9, atol=1e-12)


def test_a_style_recoloured_to_itself_is_unchanged() -> None:
    torch.testing.assert_close(match_colors(style(), style()), style(), rtol=0, atol=1e-5)


def test_recolouring_treats_the_channels_alike() -> None:
    order = [2, 0, 1]
    turned = match_colors(style()[:, order], content()[:, order])
    torch.testing.assert_close(turned, match_colors(style(), content())[:, order], rtol=0, atol=1e-5)


def test_a_grey_style_varies_in_one_direction_only() -> None:
    grey = luminance(style()).expand(-1, 3, -1, -1)
    recoloured = match_colors(grey, content())
    assert recoloured.isfinite().all()
    mean, covariance = mean_and_covariance(recoloured)
    torch.testing.assert_close(mean, mean_and_covariance(content())[0], rtol=1e-4, atol=1e-6)
    values = torch.linalg.eigvalsh(covariance)
    assert values[2] > 1e-3
    assert values[:2].abs().max() < 1e-6 * values[2]


@pytest.mark.parametrize("color", [0.0, 0.3, 1.0])
def test_constant_pictures_give_constant_pictures(color: float) -> None:
    flat = torch.full((1, 3, 8, 8), color)
    torch.testing.assert_close(match_colors(style(), flat), torch.full_like(style(), color), rtol=0, atol=1e-5)
    mean = content().mean((2, 3), keepdim=True)
    torch.testing.assert_close(match_colors(flat, content()), mean.expand_as(flat), rtol=0, atol=1e-4)
