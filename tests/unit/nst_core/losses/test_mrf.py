"""The MRF loss against its equation."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.mrf import MRFLoss
from tests.unit.nst_core.losses.samples import normal, variable
from tests.unit.nst_core.losses.test_patches import best_by_hand, corners

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(features: Tensor, style: Tensor, *, patch_px: int = 3, stride: int = 1) -> Tensor:
    """Return the squared distances of all patches to the best matching patches of the style."""
    height, width = (min(patch_px, *sides) for sides in zip(features.shape[2:], style.shape[2:], strict=True))
    total = features.new_zeros(())
    for image in features:
        best = best_by_hand(image.detach(), style[0], (height, width), stride)
        for row, best_row in zip(corners(image, (height, width), stride), best, strict=True):
            for (y, x), (v, u) in zip(row, best_row, strict=True):
                step = image[:, y : y + height, x : x + width] - style[0, :, v : v + height, u : u + width]
                total = total + step.square().sum()
    return total / features.numel()


@pytest.mark.parametrize(("patch_px", "stride"), [(3, 1), (3, 2), (3, 4), (1, 1), (2, 1), (4, 3)])
def test_it_is_the_sum_of_squares_over_patches_divided_by_the_number_of_features(patch_px: int, stride: int) -> None:
    f, style = normal(2, 4, 7, 6), normal(1, 4, 6, 8, seed=1)
    expected = by_hand(f, style, patch_px=patch_px, stride=stride).item()
    assert MRFLoss(style, patch_px=patch_px, stride=stride)(f).item() == pytest.approx(expected, rel=1e-12)
    loss = MRFLoss(style.float(), patch_px=patch_px, stride=stride)
    assert loss(f.float()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_its_gradient_is_that_of_fixed_assignments(stride: int) -> None:
    style = normal(1, 4, 5, 6, seed=1)
    ours, theirs = variable(normal(2, 4, 6, 5)), variable(normal(2, 4, 6, 5))
    (gradient,) = torch.autograd.grad(MRFLoss(style, stride=stride)(ours), ours)
    (expected,) = torch.autograd.grad(by_hand(theirs, style, stride=stride), theirs)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


def test_its_gradient_is_right() -> None:
    loss = MRFLoss(normal(1, 4, 4, 5, seed=1))
    assert torch.autograd.gradcheck(loss, variable(normal(1, 4, 5, 4)))


def test_the_gradient_is_the_mean_difference_over_patches() -> None:
    """The gradient that the paper's own program computes, with s C H W / 18 = 1, away from the border."""
    f, style = normal(1, 2, 7, 7), normal(1, 2, 6, 6, seed=1)
    x = variable(f)
    (gradient,) = torch.autograd.grad(MRFLoss(style)(x) * f.numel() / 18, x)
    best = best_by_hand(f[0], style[0], (3, 3), 1)
    wanted = [style[0, :, best[3 - i][3 - j][0] + i, best[3 - i][3 - j][1] + j] for i in range(3) for j in range(3)]
    torch.testing.assert_close(gradient[0, :, 3, 3], f[0, :, 3, 3] - torch.stack(wanted).mean(dim=0))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_loss_of_the_style_to_itself_is_zero(stride: int) -> None:
    style = normal(1, 4, 9, 8).float()
    assert MRFLoss(style, stride=stride)(style).item() == 0


def test_the_memory_limit_does_not_change_the_result() -> None:
    f, style = normal(1, 4, 11, 7), normal(1, 4, 13, 9, seed=1)
    expected = MRFLoss(style)(f)
    for rows in (9, 15, 40):
        assert torch.equal(MRFLoss(style, max_bytes=3 * 8 * 7 * 9 * rows)(f), expected)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (2, 2), (1, 1)])
def test_patches_shrink_to_the_size_of_small_maps(shape: tuple[int, int]) -> None:
    narrow, wide = normal(1, 4, *shape), normal(1, 4, 5, 5, seed=1)
    torch.testing.assert_close(MRFLoss(wide)(narrow), by_hand(narrow, wide))
    torch.testing.assert_close(MRFLoss(narrow)(wide), by_hand(wide, narrow))


@pytest.mark.parametrize("option", ["patch_px", "stride", "max_bytes"])
def test_numbers_below_one_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        MRFLoss(normal(1, 4, 5, 5), **{option: 0})
