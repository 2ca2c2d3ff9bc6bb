"""Automatic style weights: the resulting balance of gradients, and what it depends on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_core.nets import native
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.tensors import to_tensor
from nst_core.training.balance import STYLE_PULL, balanced
from nst_core.training.config import TrainConfig
from nst_core.training.descent import ImageObjective
from tests.photos import pictures
from tests.unit.nst_core.training.kit import TINY, stripes

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Small photos of a person, a cup and a cat."""
    return torch.cat([to_tensor(np.array(image.resize((64, 64)))) for _, image in pictures()])


def factor(config: TrainConfig) -> float:
    """Return the factor by which the style weights of TINY were multiplied."""
    (found,) = {f"{weight / TINY.style_weights[layer]:.6g}" for layer, weight in config.style_weights.items()}
    return float(found)


def pull(config: TrainConfig, network: LossNetwork, photo: Tensor) -> float:
    """Return the length of the style's gradient relative to the content's, at grey."""
    grey = torch.full_like(photo, 0.5, requires_grad=True)
    with native.unused():
        objective = ImageObjective(config, network, stripes())
        objective.use(photo)
        content, style, _ = objective.terms(grey)
        norms = [torch.autograd.grad(term, grey, retain_graph=True)[0].norm() for term in (style, content)]
    return float(norms[0] / norms[1])


@pytest.mark.parametrize("strength", [1.0, 0.5, 4.0])
def test_the_ratio_of_style_and_content_gradients_at_grey_follows_the_strength(
    network: LossNetwork, photos: Tensor, strength: float
) -> None:
    config = balanced(TINY, network=network, style=stripes(), photos=photos[:1], strength=strength)
    assert pull(config, network, photos[:1]) == pytest.approx(STYLE_PULL * strength, rel=1e-3)


def test_the_ratio_holds_for_the_mean_of_several_photos(network: LossNetwork, photos: Tensor) -> None:
    config = balanced(TINY, network=network, style=stripes(), photos=photos)
    each = [pull(config, network, photo[None]) for photo in photos]
    assert min(each) < STYLE_PULL < max(each)


def test_one_factor_scales_all_style_weights_and_nothing_else_changes(network: LossNetwork, photos: Tensor) -> None:
    config = replace(TINY, style_weights={"relu1_2": 1e-3, "relu2_1": 4e-3}, tv_weight=2.0, stability_weight=1.0)
    found = balanced(config, network=network, style=stripes(), photos=photos)
    assert found.style_weights["relu2_1"] / found.style_weights["relu1_2"] == pytest.approx(4, rel=1e-3)
    assert replace(found, style_weights=config.style_weights) == config


def test_the_original_weights_do_not_matter(network: LossNetwork, photos: Tensor) -> None:
    scaled = replace(TINY, style_weights={layer: 1e4 * weight for layer, weight in TINY.style_weights.items()})
    first, second = (balanced(each, network=network, style=stripes(), photos=photos) for each in (TINY, scaled))
    assert first.style_weights == pytest.approx(second.style_weights, rel=1e-3)


def test_weights_are_the_same_each_time_and_have_four_digits(network: LossNetwork, photos: Tensor) -> None:
    first, second = (balanced(TINY, network=network, style=stripes(), photos=photos) for _ in range(2))
    assert first == second
    assert all(weight == float(f"{weight:.4g}") for weight in first.style_weights.values())


def test_weights_are_proportional_to_the_strength(network: LossNetwork, photos: Tensor) -> None:
    weak, strong = (
        factor(balanced(TINY, network=network, style=stripes(), photos=photos, strength=strength))
        for strength in (0.1, 10.0)
    )
    assert strong == pytest.approx(100 * weak, rel=1e-3)


def test_a_painting_of_more_contrast_gets_lower_weights(network: LossNetwork, photos: Tensor) -> None:
    factors = [
        factor(balanced(TINY, network=network, style=0.5 + contrast * (stripes() - 0.5), photos=photos))
        for contrast in (1.0, 0.6, 0.3)
    ]
    assert factors == sorted(factors)
    assert factors[0] < 0.7 * factors[-1]


def test_photos_of_more_contrast_give_the_style_higher_weights(network: LossNetwork, photos: Tensor) -> None:
    flat, full = (
        factor(balanced(TINY, network=network, style=stripes(), photos=0.5 + contrast * (photos - 0.5)))
        for contrast in (0.3, 1.0)
    )
    assert flat < full


def test_without_content_the_weights_are_kept(network: LossNetwork, photos: Tensor) -> None:
    config = replace(TINY, content_weight=0.0)
    assert balanced(config, network=network, style=stripes(), photos=photos) == config


def test_without_a_gradient_the_weights_are_kept(network: LossNetwork, photos: Tensor) -> None:
    grey = torch.full_like(photos, 0.5)
    assert balanced(TINY, network=network, style=stripes(), photos=grey) == TINY
    weightless = replace(TINY, style_weights={"relu1_2": 0.0})
    assert balanced(weightless, network=network, style=stripes(), photos=photos) == weightless


def test_it_works_if_gradients_are_disabled(network: LossNetwork, photos: Tensor) -> None:
    expected = balanced(TINY, network=network, style=stripes(), photos=photos)
    with torch.no_grad():
        assert balanced(TINY, network=network, style=stripes(), photos=photos) == expected
