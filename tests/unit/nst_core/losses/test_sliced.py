"""The sliced Wasserstein loss against a slow reading of its formula, and its gradient with finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_core.losses import sliced
from nst_core.losses.sliced import SlicedLoss
from tests.unit.nst_core.losses.samples import normal, uniform, variable

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(4, 5), (3, 3), (9, 8), (1, 7), (1, 1)]


def by_hand(features: Tensor, style: Tensor, directions: Tensor) -> float:
    """Return the mean over images, directions and ranks, one value at a time."""
    n, _, h, w = features.shape
    squares = []
    for image in features.double():
        for v in directions.double():
            own = sorted(float(v @ image[:, y, x]) for y in range(h) for x in range(w))
            wanted = (v @ style[0].double().flatten(1)).numpy()
            for rank, value in enumerate(own):
                quantile = np.quantile(wanted, (rank + 0.5) / (h * w), method="hazen")
                squares.append((value - quantile) ** 2)
    assert len(squares) == n * len(directions) * h * w
    return float(np.mean(squares))


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_mean_square_between_sorted_projections(size: tuple[int, int]) -> None:
    f, style = normal(2, 3, 4, 5), uniform(1, 3, *size, seed=1)
    loss = SlicedLoss(style, seed=7)
    expected = by_hand(f, style, loss.directions)
    assert loss(f).item() == pytest.approx(expected, rel=1e-10)
    narrow = SlicedLoss(style.float(), seed=7)
    assert narrow(f.float()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(4, 5), (3, 7)])
def test_its_gradient_is_right(size: tuple[int, int]) -> None:
    """Projections of these values are further apart than the steps of the finite differences."""
    loss = SlicedLoss(normal(1, 3, *size, seed=1), seed=7)
    assert torch.autograd.gradcheck(loss, variable(normal(2, 3, 4, 5)))


@pytest.mark.parametrize("chunk", [1, 25, 10**6])
def test_groups_of_directions_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    f, style = normal(2, 5, 3, 4), normal(1, 5, 4, 4, seed=1)

    def value_and_gradient() -> tuple[Tensor, Tensor]:
        x = variable(f)
        value = SlicedLoss(style, seed=0)(x)
        return value.detach(), *torch.autograd.grad(value, x)

    whole = value_and_gradient()
    monkeypatch.setattr(sliced, "CHUNK", chunk)
    torch.testing.assert_close(value_and_gradient(), whole, rtol=1e-12, atol=1e-14)


def test_directions_are_an_orthonormal_basis_that_follows_from_seed_and_number() -> None:
    style = normal(1, 6, 4, 4)
    first, same, other = (SlicedLoss(style, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(first.directions @ first.directions.T, torch.eye(6, dtype=torch.float64))
    assert torch.equal(first.directions, same.directions)
    assert not torch.allclose(first.directions, other.directions)
    drawn = []
    for number in (5, 0, 5):
        first.draw(number)
        drawn.append(first.directions.clone())
        assert first(style).item() < 1e-20
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], same.directions)
    assert not torch.allclose(drawn[0], drawn[1])


def test_the_style_to_itself_and_to_its_permuted_positions_is_zero() -> None:
    style = normal(1, 3, 4, 5)
    loss = SlicedLoss(style, seed=0)
    assert loss(style).item() < 1e-24
    assert loss(style.flip(2, 3)).item() < 1e-24
    shuffled_channels = torch.stack([style[0, 0], style[0, 1], style[0, 2].flip(0)])[None]
    assert loss(shuffled_channels).item() > 1e-3


def test_it_tells_distributions_with_the_same_gram_matrix_apart() -> None:
    """Points on a cross and points in the corners of a square have the same second moments."""
    cross = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]], dtype=torch.float64).reshape(1, 2, 2, 2) * 2**0.5
    square = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1]], dtype=torch.float64).reshape(1, 2, 2, 2)
    assert torch.equal(
        (cross.flatten(2) @ cross.flatten(2).mT).round(decimals=9), square.flatten(2) @ square.flatten(2).mT
    )
    loss = SlicedLoss(square, seed=0)
    values = []
    for number in range(20):
        loss.draw(number)
        values.append(loss(cross).item())
    assert np.mean(values) > 0.05


def test_a_shift_of_all_features_costs_its_mean_square() -> None:
    """Directions that are a basis see the whole shift, whichever they are."""
    style = normal(1, 4, 5, 5)
    shift = normal(1, 4, 1, 1, seed=2)
    assert SlicedLoss(style, seed=9)(style + shift).item() == pytest.approx(shift.square().mean().item(), rel=1e-9)


def test_the_loss_is_the_same_in_either_memory_format() -> None:
    f, loss = normal(2, 8, 6, 5).float(), SlicedLoss(normal(1, 8, 4, 4, seed=1).float(), seed=0)
    torch.testing.assert_close(loss(f.to(memory_format=torch.channels_last)), loss(f))
