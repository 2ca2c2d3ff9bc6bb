"""The content loss against its equation."""

import pytest
import torch

from nst_core.losses.content import ContentLoss
from tests.unit.nst_core.losses.samples import normal, variable

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_the_mean_square_of_differences() -> None:
    a, b = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    expected = 0.0
    for n in range(2):
        for c in range(3):
            for y in range(4):
                for x in range(5):
                    expected += (a[n, c, y, x] - b[n, c, y, x]).item() ** 2 / (2 * 3 * 4 * 5)
    assert ContentLoss()(a, b).item() == pytest.approx(expected, rel=1e-12)
    assert ContentLoss()(a.float(), b.float()).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_photo_to_itself_is_zero() -> None:
    a = normal(1, 3, 4, 5)
    assert ContentLoss()(a, a).item() == 0


def test_a_target_of_one_image_is_that_of_all() -> None:
    a, target = normal(2, 3, 4, 5), normal(1, 3, 4, 5, seed=1)
    assert ContentLoss()(a, target).item() == pytest.approx((a - target).square().mean().item(), rel=1e-12)
    assert torch.autograd.gradcheck(lambda f: ContentLoss()(f, target), variable(a))


def test_its_gradient_is_right() -> None:
    target = normal(2, 3, 4, 5, seed=1)
    assert torch.autograd.gradcheck(lambda f: ContentLoss()(f, target), variable(normal(2, 3, 4, 5)))
