"""Weights as kernels in C read them."""

import pytest
import torch
from torch import Tensor

from nst_core.nets.packed import COLUMNS, Packed, packed, photo_kernels, picture_kernels, winograd_kernels
from tests.unit.nst_core.nets.native_kit import needs_compiler, noise

pytestmark = needs_compiler


def unpacked(weights: Packed, products: int) -> Tensor:
    """Return integers as the weights that they stand for, blocks x rows x products x 16."""
    assert weights.scales is not None
    values = weights.values.transpose(3, 4).flatten(2, 3)[:, :, :products]
    return values * weights.scales[:, None, None]


@pytest.mark.parametrize(("blocks", "rows", "products"), [(1, 1, 1), (3, 1, 32), (2, 3, 27), (4, 9, 1152)])
def test_integers_stand_for_the_weights(blocks: int, rows: int, products: int) -> None:
    weights = noise(blocks, rows, products, COLUMNS, seed=1)
    weights[0, :, :, 3] = 0
    made = packed(weights, integers=True)
    assert made.scales is not None
    assert made.values.shape == (blocks, rows, (products + 1) // 2, COLUMNS, 2)
    errors = (unpacked(made, products) - weights).abs()
    assert (errors <= 0.501 * made.scales[:, None, None]).all()
    assert (made.values[:, :, -1, :, 1] == 0).all() or products % 2 == 0
    # No sum of products with the largest values leaves 32 bits, and no scale is much larger than that needs.
    most = made.values.long().abs().sum((2, 4)) * 16383
    assert most.max() < 2**31
    assert (most.amax(1)[made.scales != 1] > 2**30).all() or made.values.abs().max() == 32767


def test_floats_are_the_weights() -> None:
    weights = noise(2, 3, 5, COLUMNS, seed=1)
    made = packed(weights, integers=False)
    assert made.scales is None
    assert torch.equal(made.values, weights)
    assert made.nbytes == weights.nbytes


def test_integers_take_about_half_of_the_memory() -> None:
    floats, integers = (winograd_kernels(noise(64, 64, 3, 3, seed=1), integers=each) for each in (False, True))
    assert 0.5 < integers.nbytes / floats.nbytes < 0.54


def test_kernels_of_photos_and_pictures_are_nine_of_3_x_3() -> None:
    kernels = noise(32, 3, 9, 9, seed=1)
    parts = torch.zeros(32, 32, 3, 3)
    for part in range(9):
        y, x = divmod(part, 3)
        parts[:, 3 * part : 3 * part + 3] = kernels[:, :, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3]
    assert torch.equal(photo_kernels(kernels).values, winograd_kernels(parts).values)
    assert torch.equal(
        picture_kernels(kernels.transpose(0, 1)).values, winograd_kernels(parts.transpose(0, 1).contiguous()).values
    )
