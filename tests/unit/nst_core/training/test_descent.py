"""L-BFGS on the pixels of a photo: the loss of a training, and plain iterations."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.transformer import TransformerNet
from nst_core.training.config import Normalization
from nst_core.training.descent import ImageObjective, descend
from nst_core.training.objective import PerceptualObjective
from tests.unit.nst_core.training.kit import TINY, stripes

pytestmark = pytest.mark.usefixtures("one_thread")


def photo(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gram", ["chw", "hw", "gatys"])
def test_its_terms_are_those_of_a_training_for_the_output_of_a_network(
    network: LossNetwork, gram: Normalization
) -> None:
    config = replace(TINY, gram=gram, tv_weight=7.0, tv_kind="l1", content_weight=2.0, style_crops=2)
    torch.manual_seed(0)
    transformer = TransformerNet(config.transformer)
    expected = PerceptualObjective(config, transformer, network, stripes())(photo())
    objective = ImageObjective(config, network, stripes())
    objective.use(photo())
    found = objective.terms(transformer(photo()))
    assert (found > 0).all()
    torch.testing.assert_close(found, expected[:3])
    torch.testing.assert_close(objective(transformer(photo())), expected.sum())


def test_stability_is_not_a_term(network: LossNetwork) -> None:
    losses = []
    for weight in (0.0, 1e6):
        objective = ImageObjective(replace(TINY, stability_weight=weight), network, stripes())
        objective.use(photo())
        losses.append(objective(photo(1)))
    assert losses[0] == losses[1]


def test_a_photo_has_no_content_loss_until_another_photo_is_used(network: LossNetwork) -> None:
    objective = ImageObjective(TINY, network, stripes())
    objective.use(photo())
    content, style, tv = objective.terms(photo())
    assert tv == 0
    objective.use(photo(1))
    other_content, other_style, _ = objective.terms(photo())
    assert content < 1e-9 * other_content  # rounded otherwise in another memory format
    assert other_style == style > 0


def test_gradients_go_into_the_image_in_either_memory_format(network: LossNetwork) -> None:
    objective = ImageObjective(TINY, network, stripes())
    objective.use(photo())
    gradients: list[Tensor] = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        image = photo(1).contiguous(memory_format=memory_format).requires_grad_()
        gradients += torch.autograd.grad(objective(image), image)
    assert gradients[0].any()
    torch.testing.assert_close(gradients[0], gradients[1])


class Bowl:
    """A loss whose minimum, 0, is at an image. Counts its evaluations."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.calls += 1
        distance = image - self.target
        return (distance.square() * (1 + torch.arange(image.shape[-1]))).sum() + distance.pow(4).sum()


def curve(target: float = 0.3, *, count: int = 10, seed: int = 0) -> list[float]:
    return list(islice(descend(Bowl(target), size_px=4, seed=seed), count))


def test_the_first_loss_is_that_of_the_seeds_noise() -> None:
    noise = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    assert curve(seed=5)[0] == Bowl(0.3)(noise).item()
    assert curve(seed=6)[0] != curve(seed=5)[0]
    assert curve(seed=5) == curve(seed=5)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_each_loss_is_that_after_so_many_plain_iterations(iterations: int) -> None:
    bowl = Bowl(0.3)
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    options: dict[str, Any] = {"max_iter": iterations, "max_eval": 100, "history_size": 100}
    optimizer: Any = torch.optim.LBFGS([image], lr=1.0, tolerance_grad=0.0, tolerance_change=0.0, **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = bowl(image)
        torch.autograd.backward(loss)
        return loss.detach()

    optimizer.step(closure)
    assert curve()[iterations] == pytest.approx(bowl(image).item(), rel=1e-6)


def test_it_reaches_the_minimum_even_outside_the_range_of_pictures() -> None:
    for target in (0.3, 2.0):
        losses = curve(target, count=40)
        assert losses[-1] < 1e-9 * losses[0]


def test_an_iteration_takes_one_evaluation() -> None:
    bowl = Bowl(0.3)
    assert len(list(islice(descend(bowl, size_px=4, seed=0), 12))) == bowl.calls == 12


def test_it_continues_after_the_minimum_is_reached() -> None:
    assert curve(count=200)[-1] == pytest.approx(0, abs=1e-9)
