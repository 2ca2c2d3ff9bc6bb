"""What trainings of a family's new styles begin with."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nst_core.nets.families import joined, one_style, without_palettes
from nst_core.nets.style_predictor import digest_of_convolutions, numbers_of
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import load_transformer
from nst_core.styles import families, version_of
from nst_core.training.config import TrainConfig
from nst_core.training.guesses import guess_for
from nst_core.training.presets import resolve
from tests.unit.nst_core.nets.test_families import KINDS, equal, singles
from tests.unit.nst_core.nets.test_style_predictor import strokes

pytestmark = pytest.mark.usefixtures("one_thread")

PAINTING: Tensor = strokes((0.9, 0.5, 0.15), seed=1)


def painters() -> TransformerNet:
    return without_palettes(load_transformer(families()["painters"].file, style=None))


def config_of(family: TransformerNet, preset: str | None = None) -> TrainConfig:
    return resolve(preset, family=family.config).config


@pytest.mark.parametrize("preset", ["norms", "instant"])
def test_a_style_of_the_painters_begins_with_a_guess(preset: str) -> None:
    family = load_transformer(families()["painters"].file, style=None)
    config = config_of(family, preset)
    guess = guess_for(family, config)
    assert guess is not None
    predictor = families()["painters"].predictor
    assert predictor is not None
    assert guess.sha256 == version_of(predictor.read_bytes())
    net = guess(PAINTING)
    assert net.config == config.transformer
    assert torch.equal(digest_of_convolutions(net), digest_of_convolutions(family))
    assert equal(one_style(net, 1), one_style(painters(), family.config.paintings))
    apart = (numbers_of(net)[0] - numbers_of(family)).abs().mean(1)
    assert apart.min() > 0.01


def test_two_guesses_are_equal() -> None:
    family = painters()
    guess = guess_for(family, config_of(family))
    assert guess is not None
    assert equal(guess(PAINTING), guess(PAINTING))


def test_other_trainings_begin_as_they_did() -> None:
    family = painters()
    config = config_of(family)
    assert guess_for(None, config) is None
    alone = one_style(family, 0)
    assert guess_for(alone, replace(config, transformer=alone.config)) is None
    assert guess_for(family, replace(config, trained="all", identity_weight=1.0)) is None
    assert guess_for(family, replace(config, transformer=family.config)) is None


def test_a_family_without_a_predictor_begins_as_it_did() -> None:
    family = joined(singles(KINDS[0]))
    assert guess_for(family, config_of(family)) is None


def test_torchs_random_state_stays_as_it_is() -> None:
    family = painters()
    before = torch.get_rng_state()
    assert guess_for(family, config_of(family)) is not None
    assert torch.equal(torch.get_rng_state(), before)
