"""The losses against their equations, written out by hand."""

import pytest
import torch
from torch import Tensor

from nst_core.losses import ContentLoss, StyleLoss, TVLoss, gram_matrix

pytestmark = pytest.mark.usefixtures("one_thread")


def features(n: int = 2, c: int = 3, h: int = 4, w: int = 5) -> Tensor:
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(0))


def test_gram_is_the_mean_of_products_over_channels_and_positions() -> None:
    f = features()
    n, c, h, w = f.shape
    expected = torch.zeros(n, c, c, dtype=torch.float64)
    for image in range(n):
        for i in range(c):
            for j in range(c):
                for y in range(h):
                    for x in range(w):
                        expected[image, i, j] += f[image, i, y, x].double() * f[image, j, y, x].double()
    expected /= c * h * w
    torch.testing.assert_close(gram_matrix(f).double(), expected, rtol=1e-5, atol=1e-7)


def test_gram_equals_an_einsum_in_either_memory_format() -> None:
    f = features(2, 16, 9, 7)
    expected = torch.einsum("nchw,ndhw->ncd", f, f) / (16 * 9 * 7)
    torch.testing.assert_close(gram_matrix(f), expected)
    torch.testing.assert_close(gram_matrix(f.to(memory_format=torch.channels_last)), expected)


def test_gram_forgets_where_things_are() -> None:
    f = features()
    torch.testing.assert_close(gram_matrix(f.flip(2)), gram_matrix(f))


def test_gram_stays_float32_under_autocast() -> None:
    f = features(1, 8, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = gram_matrix(f)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, gram_matrix(f))


def test_content_loss_is_the_mean_square_of_differences() -> None:
    a, b = features(), features() + torch.arange(5.0)
    assert ContentLoss()(a, b).item() == pytest.approx((0 + 1 + 4 + 9 + 16) / 5, rel=1e-5)
    assert ContentLoss()(a, a).item() == 0


def test_style_loss_is_the_mean_square_of_gram_differences() -> None:
    f = features()
    target = torch.randn(1, 3, 3)
    gram = gram_matrix(f)
    expected = sum((gram[n, i, j] - target[0, i, j]) ** 2 for n in range(2) for i in range(3) for j in range(3)) / 18
    torch.testing.assert_close(StyleLoss(target)(f), torch.as_tensor(expected))


def test_style_loss_of_the_style_itself_is_zero() -> None:
    f = features(1)
    assert StyleLoss(gram_matrix(f))(f).item() == 0


def test_the_style_target_moves_with_the_module_and_is_not_trained() -> None:
    loss = StyleLoss(torch.ones(1, 3, 3))
    assert dict(loss.named_buffers()).keys() == {"target"}
    assert list(loss.parameters()) == []
    assert loss.to(torch.float64).target.dtype == torch.float64


def test_tv_is_the_mean_square_of_steps_to_the_next_row_and_column() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]])[None, None]
    rows = ((2 - 0) ** 2 + (2 - 1) ** 2 + (2 - 3) ** 2) / 3
    columns = (1 + 4 + 0 + 0) / 4
    assert TVLoss()(image).item() == pytest.approx(rows + columns)


def test_tv_of_a_plain_image_is_zero() -> None:
    assert TVLoss()(torch.full((2, 3, 8, 8), 0.7)).item() == 0


def test_losses_are_differentiable() -> None:
    f = features().requires_grad_()
    total = ContentLoss()(f, torch.zeros_like(f)) + StyleLoss(torch.zeros(1, 3, 3))(f) + TVLoss()(f)
    torch.autograd.backward(total)
    assert f.grad is not None
    assert f.grad.abs().min() > 0
