"""The training of a style predictor: views of paintings, what is learned, and what it depends on."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from nst_core.errors import ConfigError
from nst_core.nets.families import joined
from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.style_predictor import LAYERS, StylePredictor, numbers_of
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.training.predictor import (
    OWN_OPTIONS,
    PredictorLosses,
    beginner,
    look_at,
    recoloured,
    train_predictor,
    view,
)
from nst_core.training.presets import presets
from tests.unit.nst_core.nets.test_families import equal, singles
from tests.unit.nst_core.training.kit import MemoryPhotos, encoded, soft_picture

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK = TransformerConfig(width=8, blocks=1, output="tanh", grain=3.0)
CONFIG = replace(
    presets()["norms"].config,
    transformer=NETWORK,
    steps=12,
    size_px=48,
    style_size_px=96,
    style_weights={"relu1_2": 1e5, "relu2_2": 1e5},
    **OWN_OPTIONS | {"warmup_steps": 2, "learning_rate": 5e-3},
)


def paintings() -> list[np.ndarray]:
    return [np.asarray(soft_picture(seed, 120, 90)) for seed in (1, 2)]


def photos() -> MemoryPhotos:
    return MemoryPhotos({f"{seed}.png": encoded(soft_picture(seed)) for seed in (5, 6, 7)})


def train(
    family: TransformerNet, *, predictor: StylePredictor | None = None, seed: int = 0, batch_size: int = 2
) -> tuple[StylePredictor, list[PredictorLosses]]:
    losses: list[PredictorLosses] = []
    made = train_predictor(
        family,
        paintings(),
        photos(),
        replace(CONFIG, seed=seed, batch_size=batch_size),
        views=2,
        predictor=predictor,
        on_step=lambda step, predictor: losses.append(step),
    )
    return made, losses


def test_it_learns_styles_and_leaves_the_family_as_it_is() -> None:
    family = joined(singles(NETWORK))
    before = {name: tensor.clone() for name, tensor in family.state_dict().items()}
    predictor, losses = train(family)
    assert [each.step for each in losses] == list(range(1, 13))
    assert np.mean([each.style for each in losses[-4:]]) < 0.9 * np.mean([each.style for each in losses[:4]])
    assert all(torch.equal(tensor, before[name]) for name, tensor in family.state_dict().items())
    assert predictor.fits(family)
    assert not predictor.training
    assert not any(parameter.requires_grad for parameter in predictor.parameters())


def test_equal_seeds_give_equal_predictors_and_other_seeds_others() -> None:
    family = joined(singles(NETWORK))
    first, again, other = (train(family, seed=seed)[0] for seed in (3, 3, 4))
    assert equal(first, again)
    assert not equal(first, other)


def test_a_predictor_learns_further() -> None:
    family = joined(singles(NETWORK))
    predictor, losses = train(family)
    _, further = train(family, predictor=predictor)
    assert further[0].style < losses[0].style


def test_one_photo_at_a_time_is_enough() -> None:
    _, losses = train(joined(singles(NETWORK)), batch_size=1)
    assert len(losses) == 12


def test_without_paintings_there_is_nothing_to_learn() -> None:
    with pytest.raises(ConfigError, match="needs paintings"):
        train_predictor(joined(singles(NETWORK)), [], photos(), CONFIG)


def test_a_predictor_of_another_family_is_refused() -> None:
    family = joined(singles(NETWORK))
    predictor, _ = train(family)
    predictor.convolutions[0] ^= 1
    with pytest.raises(ConfigError, match="other convolutions"):
        train(family, predictor=predictor)


def test_a_beginner_guesses_the_mean_of_the_family() -> None:
    family = joined(singles(NETWORK))
    known = look_at(paintings(), load_loss_network([*LAYERS, *CONFIG.layers]), CONFIG, views=2)
    predictor = beginner(family, known, seed=0)
    with torch.no_grad():
        guesses = predictor(known.described)
    torch.testing.assert_close(guesses, numbers_of(family).mean(0).expand(4, -1))


def test_the_first_view_of_a_painting_is_the_painting_and_others_are_not() -> None:
    painting = np.asarray(soft_picture(1, 192, 96))
    plain = view(painting, np.random.default_rng(0), side_px=192, plain=True)
    assert (plain[0].permute(1, 2, 0).mul(255).round().byte().numpy() == painting).all()
    views = [view(painting, np.random.default_rng(seed), side_px=96, plain=False) for seed in range(6)]
    assert len({tuple(each.shape) for each in views}) > 1
    assert all(min(each.shape[2:]) >= 64 for each in views)
    assert all(each.min() >= 0 and each.max() <= 1 for each in views)


def test_other_colours_are_other_colours_of_the_same_brightness_or_nearly() -> None:
    pixels = np.asarray(soft_picture(3, 80, 60))
    made = [recoloured(pixels, np.random.default_rng(seed)) for seed in range(12)]
    for first, second in pairwise([pixels, *made]):
        assert np.abs(first.astype(int) - second).mean() > 1
    grey = np.full((8, 8, 3), 128, np.uint8)
    for seed in range(12):
        kept = recoloured(grey, np.random.default_rng(seed))
        assert np.ptp(kept, axis=2).max() <= 2
