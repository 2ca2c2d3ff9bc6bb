"""The total variation against its equation."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.tv import TVLoss
from tests.unit.nst_core.losses.samples import uniform, variable

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(image: Tensor, power: int) -> float:
    """Return the mean power of steps to the next row plus that of steps to the next column."""
    n, c, h, w = image.shape
    rows, columns = 0.0, 0.0
    for pixels in image.reshape(n * c, h, w).tolist():
        for y in range(h):
            for x in range(w):
                if y + 1 < h:
                    rows += abs(pixels[y + 1][x] - pixels[y][x]) ** power
                if x + 1 < w:
                    columns += abs(pixels[y][x + 1] - pixels[y][x]) ** power
    return rows / (n * c * (h - 1) * w) + columns / (n * c * h * (w - 1))


@pytest.mark.parametrize(("kind", "power"), [("l1", 1), ("squared", 2)])
def test_it_is_the_mean_of_steps_to_the_next_row_and_column(kind: Literal["l1", "squared"], power: int) -> None:
    image = uniform(2, 3, 5, 4)
    assert TVLoss(kind)(image).item() == pytest.approx(by_hand(image, power), rel=1e-12)
    assert TVLoss(kind)(image.float()).item() == pytest.approx(by_hand(image, power), rel=1e-5)


def test_squares_are_the_default() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]])[None, None]
    assert TVLoss()(image).item() == pytest.approx((4 + 1 + 1) / 3 + (1 + 4 + 0 + 0) / 4)


@pytest.mark.parametrize("kind", ["l1", "squared"])
def test_a_plain_image_has_no_variation(kind: Literal["l1", "squared"]) -> None:
    assert TVLoss(kind)(torch.full((2, 3, 8, 8), 0.7)).item() == 0


@pytest.mark.parametrize("kind", ["l1", "squared"])
def test_an_image_one_pixel_wide_varies_along_its_length_only(kind: Literal["l1", "squared"]) -> None:
    image = uniform(1, 3, 6, 1)
    steps = image.diff(dim=2)
    expected = steps.abs().mean() if kind == "l1" else steps.square().mean()
    torch.testing.assert_close(TVLoss(kind)(image), expected)


@pytest.mark.parametrize("kind", ["l1", "squared"])
def test_its_gradient_is_right(kind: Literal["l1", "squared"]) -> None:
    assert torch.autograd.gradcheck(TVLoss(kind), variable(uniform(2, 3, 4, 5)))


def test_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="l1, squared"):
        TVLoss("l2")  # type: ignore[arg-type]
