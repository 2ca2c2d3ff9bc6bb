"""The Laplacian loss against its equation."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.laplacian import LaplacianLoss
from tests.unit.nst_core.losses.samples import uniform, variable

pytestmark = pytest.mark.usefixtures("one_thread")


def edges(image: Tensor, p: int) -> list[float]:
    """Return the Laplacian of the means of p x p pixels, summed over the channels."""
    channels, height, width = image.shape
    rows, columns = height // p, width // p
    pooled = [
        [[image[c, y * p : y * p + p, x * p : x * p + p].mean().item() for x in range(columns)] for y in range(rows)]
        for c in range(channels)
    ]
    kernel = [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    result = []
    for y in range(rows - 2):
        for x in range(columns - 2):
            result.append(
                sum(kernel[i][j] * pooled[c][y + i][x + j] for c in range(channels) for i in range(3) for j in range(3))
            )
    return result


def by_hand(images: Tensor, content: Tensor, p: int) -> float:
    target = edges(content[0], p)
    squares = [(a - b) ** 2 for image in images for a, b in zip(edges(image, p), target, strict=True)]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("pool_px", [1, 2, 4])
def test_it_is_the_mean_square_of_differing_edges(pool_px: int) -> None:
    images, content = uniform(2, 3, 13, 18), uniform(1, 3, 13, 18, seed=1)
    expected = by_hand(images, content, pool_px)
    assert LaplacianLoss(content, pool_px=pool_px)(images).item() == pytest.approx(expected, rel=1e-12)
    loss = LaplacianLoss(content.float(), pool_px=pool_px)
    assert loss(images.float()).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_the_photo_to_itself_is_zero() -> None:
    content = uniform(1, 3, 12, 12).float()
    assert LaplacianLoss(content, pool_px=4)(content).item() == 0


def test_a_constant_shift_and_a_ramp_are_not_edges() -> None:
    content = uniform(1, 3, 12, 16)
    loss = LaplacianLoss(content, pool_px=2)
    assert loss(content + 0.25).item() == pytest.approx(0, abs=1e-28)
    assert loss(content + torch.arange(16) / 16).item() == pytest.approx(0, abs=1e-28)


def test_an_edge_is_detected() -> None:
    content = torch.zeros(1, 3, 8, 8)
    image = content.clone()
    image[..., 4:] = 1.0
    # Of 6 x 6 responses, the columns on either side of the edge have -1 and +1 in each of 3 channels.
    assert LaplacianLoss(content, pool_px=1)(image).item() == pytest.approx(12 * 3**2 / 36)


@pytest.mark.parametrize("pool_px", [1, 2])
def test_its_gradient_is_right(pool_px: int) -> None:
    loss = LaplacianLoss(uniform(1, 3, 6, 7, seed=1), pool_px=pool_px)
    assert torch.autograd.gradcheck(loss, variable(uniform(2, 3, 6, 7)))


def test_an_image_of_fewer_than_three_poolings_has_no_edges() -> None:
    image = variable(uniform(1, 3, 20, 11))
    loss = LaplacianLoss(uniform(1, 3, 20, 11, seed=1), pool_px=4)(image)
    assert loss.item() == 0
    torch.autograd.backward(loss)
    assert image.grad is not None
    assert not image.grad.any()


def test_a_pooling_below_1_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        LaplacianLoss(torch.zeros(1, 3, 8, 8), pool_px=0)
