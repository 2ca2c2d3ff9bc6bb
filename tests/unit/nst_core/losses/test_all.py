"""Properties that all losses share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.grid import GridLoss
from nst_core.losses.histogram import HistogramLoss
from nst_core.losses.laplacian import LaplacianLoss
from nst_core.losses.moments import MomentsLoss, moments
from nst_core.losses.mrf import MRFLoss
from nst_core.losses.sliced import SlicedLoss
from nst_core.losses.tv import TVLoss
from tests.unit.nst_core.losses.samples import normal, uniform

pytestmark = pytest.mark.usefixtures("one_thread")


class Content(nn.Module):
    """A content loss that holds its target, so that all losses have one signature."""

    target: Tensor

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self.register_buffer("target", target)
        self.loss = ContentLoss()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.loss(features, self.target)
        return result


LOSSES: dict[str, Callable[[Tensor], nn.Module]] = {
    "content": Content,
    "gram": lambda target: GramLoss(gram_matrix(target), normalization="gatys"),
    "tv": lambda target: TVLoss(),
    "tv_l1": lambda target: TVLoss("l1"),
    "grid": lambda target: GridLoss(),
    "histogram": HistogramLoss,
    "laplacian": lambda target: LaplacianLoss(target, pool_px=2),
    "mrf": MRFLoss,
    "sliced": lambda target: SlicedLoss(target, seed=0),
    "moments": lambda target: MomentsLoss(*moments(target)),
}
each = pytest.mark.parametrize("name", LOSSES)


def value_and_gradient(loss: nn.Module, features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.clone().requires_grad_()
    value: Tensor = loss(features)
    (gradient,) = torch.autograd.grad(value, features)
    return value, gradient


@each
@pytest.mark.parametrize(
    ("given", "returned"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_it_is_a_scalar_of_float32_at_least(name: str, given: torch.dtype, returned: torch.dtype) -> None:
    f, target = normal(2, 3, 8, 8).to(given), normal(1, 3, 8, 8, seed=1).to(given)
    value, gradient = value_and_gradient(LOSSES[name](target), f)
    assert value.shape == ()
    assert value.dtype == returned
    assert gradient.dtype == given
    assert gradient.abs().max() > 0


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(name: str, dtype: torch.dtype) -> None:
    f, target = normal(2, 3, 8, 8).to(dtype).requires_grad_(), normal(1, 3, 8, 8, seed=1).to(dtype)
    expected = value_and_gradient(LOSSES[name](target), f.detach())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LOSSES[name](target)(f)
    (gradient,) = torch.autograd.grad(value, f)  # outside of autocast, as torch advises
    assert torch.equal(value, expected[0])
    assert torch.equal(gradient, expected[1])


@each
def test_the_batch_is_a_mean(name: str) -> None:
    f, loss = normal(3, 3, 8, 8), LOSSES[name](normal(1, 3, 8, 8, seed=1))
    expected = torch.stack([loss(image[None]) for image in f]).mean()
    torch.testing.assert_close(loss(f), expected, rtol=1e-10, atol=1e-12)


@each
def test_grey_and_constant_images_give_finite_values(name: str) -> None:
    grey = uniform(1, 1, 8, 8).expand(1, 3, 8, 8).float()
    zeros, half = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    coloured = uniform(1, 3, 8, 8, seed=1).float()
    for target in (grey, zeros, half, coloured):
        loss = LOSSES[name](target)
        for features in (grey, zeros, half, coloured):
            value, gradient = value_and_gradient(loss, features)
            assert value.isfinite()
            assert gradient.isfinite().all()


@each
@pytest.mark.parametrize("size", [(8, 1), (1, 8), (1, 1)])
def test_features_one_pixel_wide_give_finite_values(name: str, size: tuple[int, int]) -> None:
    f, target = normal(1, 3, *size).float(), normal(1, 3, *size, seed=1).float()
    value, gradient = value_and_gradient(LOSSES[name](target), f)
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"tv", "tv_l1", "grid"}))
def test_targets_are_buffers_without_gradient(name: str) -> None:
    target = normal(1, 3, 8, 8).requires_grad_()
    loss = LOSSES[name](target.detach() if name in ("content", "gram") else target)
    buffers = dict(loss.named_buffers())
    assert buffers
    assert not list(loss.parameters())
    assert not any(buffer.requires_grad for buffer in buffers.values())
    assert all(buffer.device.type == "meta" for buffer in loss.to("meta").buffers())


@pytest.mark.parametrize("name", ["gram", "histogram", "mrf", "moments", "sliced"])
def test_the_style_may_have_another_size(name: str) -> None:
    value, gradient = value_and_gradient(LOSSES[name](normal(1, 3, 5, 11, seed=1)), normal(1, 3, 8, 8))
    assert value > 0
    assert gradient.isfinite().all()
