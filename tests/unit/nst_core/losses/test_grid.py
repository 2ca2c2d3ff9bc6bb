"""The loss of marks that are fixed to the grid of pixels: it sees these and nothing else."""

import pytest
import torch

from nst_core.losses.grid import PERIOD_PX, GridLoss
from tests.unit.nst_core.losses.samples import normal, uniform, variable

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("period", [2, PERIOD_PX])
def test_it_is_the_variance_of_a_pattern_that_repeats(period: int) -> None:
    pattern = normal(1, 3, period, period)
    image = 0.5 + pattern.repeat(1, 1, 32 // period, 32 // period)
    assert GridLoss()(image).item() == pytest.approx(pattern.var(dim=(2, 3), correction=0).mean().item(), rel=1e-9)


def test_it_does_not_see_tones_and_slopes() -> None:
    rows = torch.linspace(0, 1, 40, dtype=torch.float64)
    slope = (0.2 * rows[:, None] + 0.7 * rows).expand(1, 3, -1, -1)
    assert GridLoss()(slope).item() < 1e-20


def test_it_hardly_sees_marks_at_any_pixel() -> None:
    # Each place of the pattern is a mean over 64 x 64 pixels of noise, without the part that their neighbours share.
    noise = normal(1, 3, 259, 259)
    assert GridLoss()(noise).item() == pytest.approx(15 / 16 / 64**2, rel=0.4)


def test_it_does_not_depend_on_where_a_picture_was_cut() -> None:
    image = 0.5 + normal(1, 1, 4, 4).repeat(1, 1, 9, 9)
    losses = [GridLoss()(image[..., y : y + 32, x : x + 32]).item() for y in range(4) for x in range(4)]
    assert losses == pytest.approx([losses[0]] * 16, rel=1e-9)


def test_rows_and_columns_of_an_incomplete_pattern_do_not_count() -> None:
    image = uniform(2, 3, 21, 30)
    torch.testing.assert_close(GridLoss()(image), GridLoss()(image[..., :19, :27]))


def test_a_step_down_its_gradient_removes_the_pattern() -> None:
    image = variable(0.5 + 0.1 * normal(1, 1, 4, 4).repeat(1, 1, 16, 16))
    loss = GridLoss()(image)
    (gradient,) = torch.autograd.grad(loss, image)
    count = image.numel()
    assert GridLoss()(image - 0.5 * count * gradient).item() < 0.05 * loss.item()
