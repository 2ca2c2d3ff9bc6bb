"""Gram matrices and the loss on them against their equations, written out by hand."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.gram import PIECE, GramLoss, Normalization, gram_matrix
from nst_core.nets import native
from tests.unit.nst_core.losses.samples import normal, uniform, variable

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(f: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return sum_p w_p F_ip F_jp / sum_p w_p."""
    n, c, h, w = f.shape
    weights = torch.ones(n, 1, h, w, dtype=torch.float64) if weights is None else weights.expand(n, 1, h, w)
    gram = torch.zeros(n, c, c, dtype=torch.float64)
    for image in range(n):
        for i in range(c):
            for j in range(c):
                for y in range(h):
                    for x in range(w):
                        weight = weights[image, 0, y, x]
                        gram[image, i, j] += weight * f[image, i, y, x] * f[image, j, y, x]
        gram[image] /= weights[image].sum()
    return gram


def test_it_is_the_mean_of_products_over_positions() -> None:
    f = normal(2, 3, 4, 5)
    torch.testing.assert_close(gram_matrix(f), by_hand(f), rtol=1e-12, atol=0)
    torch.testing.assert_close(gram_matrix(f.float()).double(), by_hand(f), rtol=1e-5, atol=1e-6)


def test_it_equals_an_einsum_in_either_memory_format() -> None:
    f = normal(2, 16, 9, 7).float()
    expected = torch.einsum("nchw,ndhw->ncd", f, f) / (9 * 7)
    torch.testing.assert_close(gram_matrix(f), expected)
    torch.testing.assert_close(gram_matrix(f.to(memory_format=torch.channels_last)), expected)


def test_it_does_not_depend_on_positions() -> None:
    f = normal(1, 3, 4, 5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    permuted = f.flatten(2)[:, :, order].reshape(f.shape)
    torch.testing.assert_close(gram_matrix(permuted), gram_matrix(f), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("guided", [False, True])
def test_it_stays_float32_under_autocast(guided: bool) -> None:
    f = normal(1, 8, 32, 32).float()
    weights = uniform(1, 1, 32, 32).float() if guided else None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = gram_matrix(f, weights=weights)
    assert gram.dtype == torch.float32
    assert torch.equal(gram, gram_matrix(f, weights=weights))


@pytest.mark.parametrize("images", [1, 2])
def test_a_guide_weights_the_positions(images: int) -> None:
    f, weights = normal(2, 3, 4, 5), uniform(images, 1, 4, 5, seed=1)
    torch.testing.assert_close(gram_matrix(f, weights=weights), by_hand(f, weights), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        gram_matrix(f.float(), weights=weights).double(), by_hand(f, weights), rtol=1e-5, atol=1e-6
    )


def test_a_guide_is_the_square_of_the_map_that_the_paper_multiplies_by() -> None:
    f, guide = normal(1, 3, 4, 5), uniform(1, 1, 4, 5, seed=1)
    guided = f * guide / guide.square().sum().sqrt()
    expected = guided.flatten(2) @ guided.flatten(2).transpose(1, 2)
    torch.testing.assert_close(gram_matrix(f, weights=guide.square()), expected, rtol=1e-12, atol=0)


def test_a_guide_of_ones_changes_nothing() -> None:
    f = normal(2, 3, 4, 5)
    torch.testing.assert_close(gram_matrix(f, weights=torch.ones(1, 1, 4, 5)), gram_matrix(f), rtol=1e-12, atol=1e-14)


def test_a_mask_gives_the_gram_matrix_of_the_unmasked_positions() -> None:
    f = normal(1, 3, 4, 6)
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., 1:3, 2:5] = 1
    torch.testing.assert_close(gram_matrix(f, weights=mask), gram_matrix(f[..., 1:3, 2:5]), rtol=1e-12, atol=1e-14)


def test_an_empty_mask_gives_zeros_and_no_gradient() -> None:
    f = variable(normal(1, 3, 4, 5))
    gram = gram_matrix(f, weights=torch.zeros(1, 1, 4, 5))
    assert torch.equal(gram, torch.zeros(1, 3, 3, dtype=torch.float64))
    torch.autograd.backward(gram.sum())
    assert f.grad is not None
    assert not f.grad.any()


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (3, 1, 4, 5), (2, 3, 4, 5), (4, 5)])
def test_a_guide_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        gram_matrix(normal(2, 3, 4, 5), weights=torch.ones(shape))


def loss_by_hand(f: Tensor, style: Tensor, normalization: Normalization) -> float:
    """Return the loss as its paper writes it, with sums of products without further normalisation."""
    (n, c, h, w), (_, _, style_h, style_w) = f.shape, style.shape
    raw, raw_style = by_hand(f) * h * w, by_hand(style) * style_h * style_w
    total = 0.0
    for image in range(n):
        for i in range(c):
            for j in range(c):
                if normalization == "gatys":  # E = sum (G' - A')^2 / (4 C^2 M^2)
                    step = raw[image, i, j] / (h * w) - raw_style[0, i, j] / (style_h * style_w)
                    total += step.item() ** 2 / (4 * c**2) / n
                elif normalization == "relative":  # |G - A|^2 / |A|^2
                    step = raw[image, i, j] / (h * w) - raw_style[0, i, j] / (style_h * style_w)
                    norm = (raw_style[0] / (style_h * style_w)).square().sum()
                    total += step.item() ** 2 / norm.item() / n
                elif normalization == "hw":
                    step = raw[image, i, j] / (h * w) - raw_style[0, i, j] / (style_h * style_w)
                    total += step.item() ** 2 / c**2 / n
                else:
                    step = raw[image, i, j] / (c * h * w) - raw_style[0, i, j] / (c * style_h * style_w)
                    total += step.item() ** 2 / c**2 / n
    return total


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_each_normalisation_is_that_of_its_paper(normalization: Normalization) -> None:
    f, style = normal(2, 3, 4, 5), normal(1, 3, 6, 3, seed=1)
    loss = GramLoss(gram_matrix(style), normalization=normalization)
    expected = loss_by_hand(f, style, normalization)
    assert loss(f).item() == pytest.approx(expected, rel=1e-12)
    assert loss.float()(f.float()).item() == pytest.approx(expected, rel=1e-5)


def test_gatys_equation_4_holds_literally_for_equal_sizes() -> None:
    f, style = normal(1, 3, 4, 5), normal(1, 3, 4, 5, seed=1)
    raw, raw_style = by_hand(f) * 20, by_hand(style) * 20
    expected = (raw - raw_style).square().sum() / (4 * 3**2 * 20**2)
    torch.testing.assert_close(GramLoss(gram_matrix(style), normalization="gatys")(f), expected)


def test_the_loss_takes_a_guide() -> None:
    f, weights = normal(1, 3, 4, 5), uniform(1, 1, 4, 5, seed=2)
    target = gram_matrix(normal(1, 3, 4, 5, seed=1))
    expected = (by_hand(f, weights) - target).square().mean()
    torch.testing.assert_close(GramLoss(target, normalization="hw")(f, weights), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_the_loss_of_the_style_to_itself_is_zero(normalization: Normalization) -> None:
    style = normal(1, 3, 4, 5)
    assert GramLoss(gram_matrix(style), normalization=normalization)(style).item() == 0


@pytest.mark.parametrize("guided", [False, True])
def test_its_gradient_is_right(guided: bool) -> None:
    loss = GramLoss(gram_matrix(normal(1, 3, 4, 5, seed=1)), normalization="hw")
    weights = uniform(1, 1, 4, 5, seed=2) if guided else None
    assert torch.autograd.gradcheck(lambda f: loss(f, weights), variable(normal(2, 3, 4, 5)))


def test_another_normalisation_is_refused() -> None:
    with pytest.raises(ConfigError, match="gatys, hw, chw"):
        GramLoss(torch.ones(1, 3, 3), normalization="c")  # type: ignore[arg-type]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("guided", [False, True])
def test_its_gradient_is_that_of_an_einsum(guided: bool, images: int, memory_format: torch.memory_format) -> None:
    values = normal(images, 16, 9, 11).float().contiguous(memory_format=memory_format)
    weights = uniform(1, 1, 9, 11, seed=3).float() if guided else torch.ones(1, 1, 9, 11)
    pull = normal(images, 16, 16, seed=1).float()  # not symmetric
    own, expected = variable(values), variable(values)
    matrix = gram_matrix(own, weights=weights if guided else None)
    plain = torch.einsum("nchw,ndhw->ncd", expected * (weights / weights.sum()), expected)
    torch.testing.assert_close(matrix, plain, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(matrix, own, pull)
    (wanted,) = torch.autograd.grad(plain, expected, pull)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_close_over_many_positions(
    dtype: torch.dtype, guided: bool, images: int, memory_format: torch.memory_format
) -> None:
    values = normal(images, 8, 80, 61).relu().contiguous(memory_format=memory_format)
    assert values[0, 0].numel() > 2 * PIECE
    weights = uniform(images, 1, 80, 61, seed=2) if guided else None
    pull = normal(images, 8, 8, seed=1)
    exact, narrow = variable(values), variable(values.to(dtype))
    expected = gram_matrix(exact, weights=weights)
    matrix = gram_matrix(narrow, weights=weights)
    assert matrix.dtype == torch.float32
    assert (matrix - expected).norm() < 0.005 * expected.norm()
    (gradient,) = torch.autograd.grad(matrix, narrow, pull.float())
    (wanted,) = torch.autograd.grad(expected, exact, pull)
    assert gradient.dtype == dtype
    assert (gradient - wanted).norm() < 0.02 * wanted.norm()


def test_the_sum_over_very_many_positions_is_more_exact_than_bfloat16_itself() -> None:
    values = normal(1, 8, 32, PIECE).relu().bfloat16()
    exact = gram_matrix(values.double())
    assert (exact.bfloat16() - exact).norm() > 0.001 * exact.norm()
    assert (gram_matrix(values) - exact).norm() < 0.0006 * exact.norm()


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_activations_of_hundreds_are_not_too_large_for_half_precision(dtype: torch.dtype, guided: bool) -> None:
    # As in a network whose input goes up to 128. The sums of their squares exceed the range of float16.
    values = 500 * uniform(1, 4, 50, 50)
    weights = uniform(1, 1, 50, 50, seed=2) if guided else None
    matrix = gram_matrix(values.to(dtype), weights=weights)
    expected = gram_matrix(values, weights=weights)
    assert (matrix - expected).norm() < 0.005 * expected.norm()


def test_guides_get_no_gradient() -> None:
    f, weights = variable(normal(1, 3, 4, 5)), variable(uniform(1, 1, 4, 5, seed=2))
    torch.autograd.backward(gram_matrix(f, weights=weights).sum())
    assert f.grad is not None
    assert weights.grad is None


# In the last two sizes, blocks of positions overlap at the end.
@pytest.mark.parametrize("channels", [16, 48, 64])
@pytest.mark.parametrize("size", [(1, 3), (2, 3), (37, 29), (64, 64), (7, 11), (5, 29)])
def test_kernels_in_c_match_the_formula(channels: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(2, channels, *size, generator=generator).contiguous(memory_format=torch.channels_last)
    weights = torch.randn(2, channels, channels, generator=generator)
    features = values.requires_grad_()
    found = gram_matrix(features)
    (gradient,) = torch.autograd.grad(found, features, weights)
    flat = values.detach().double().flatten(2)
    count = size[0] * size[1]
    torch.testing.assert_close(found.double(), flat @ flat.transpose(1, 2) / count, rtol=1e-5, atol=1e-5)
    wanted = (weights + weights.transpose(1, 2)).double() @ flat / count
    torch.testing.assert_close(gradient.flatten(2).double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(native.library() is None, reason="there is no compiler")
@pytest.mark.parametrize("channels", [16, 48, 512])
@pytest.mark.parametrize("size", [(2, 3), (9, 8), (7, 11), (64, 64)])
def test_with_integers_it_is_nearly_the_formula(channels: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(2, channels, *size, generator=generator).contiguous(memory_format=torch.channels_last)
    # Channels of very different sizes, one of which is empty.
    values *= torch.logspace(-3, 3, channels)[:, None, None]
    values[:, 5] = 0
    with native.integers(True):
        found = gram_matrix(values)
        with native.threads(3):
            assert torch.equal(gram_matrix(values), found)
    flat = values.double().flatten(2)
    sizes = flat.square().mean(2).sqrt()
    scale = (sizes[:, :, None] * sizes[:, None]).clamp_min(1e-12)
    exact = flat @ flat.transpose(1, 2) / (size[0] * size[1])
    assert ((found.double() - exact) / scale).abs().max() < 1e-3
    assert ((found.double() - exact) / scale).square().mean().sqrt() < 2e-4
    assert not found[:, 5].any()
    assert not torch.equal(found, gram_matrix(values))
