"""The config of a training: validation, error messages, a JSON round trip, and the learning rate."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest

from nst_core import images
from nst_core.errors import ConfigError
from nst_core.losses import gram, tv
from nst_core.nets import transformer
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.styles import shipped_styles
from nst_core.training import config
from nst_core.training.config import TrainConfig
from tests.unit.nst_core.training.kit import TINY


def test_a_config_survives_a_json_round_trip() -> None:
    for each in (TrainConfig(), TINY, replace(TINY, transformer=TransformerConfig(norm="batch", head_norm=True))):
        assert TrainConfig.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_fields_that_are_not_given_have_their_default() -> None:
    assert TrainConfig.from_dict({"steps": 7, "transformer": {"width": 4}}) == TrainConfig(
        steps=7, transformer=TransformerConfig(width=4)
    )


def test_configs_of_shipped_styles_can_be_used_again() -> None:
    for style in shipped_styles():
        values = style.card["training"]
        assert TrainConfig.from_dict(values).to_dict() == TrainConfig().to_dict() | values


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", 10.0),
        ("steps", True),
        ("batch_size", -1),
        ("size_px", 15),
        ("style_size_px", "512"),
        ("zoom", 0.5),
        ("crops_per_photo", 0),
        ("style_crops", -1),
        ("pooling", "min"),
        ("gram", "c"),
        ("tv_kind", "l2"),
        ("schedule", "linear"),
        ("network", ""),
        ("content_layer", ["relu3_3"]),
        ("content_layer", "foo"),
        ("content_layer", "relu9_1"),
        ("style_weights", {"relu1_9": 1.0}),
        ("style_weights", {"": 1.0}),
        ("content_weight", -1.0),
        ("style_weights", {}),
        ("style_weights", {"relu1_2": float("inf")}),
        ("style_weights", {"relu1_2": "5"}),
        ("style_weights", ["relu1_2"]),
        ("tv_weight", float("nan")),
        ("stability_fraction", 1.5),
        ("shift_weight", -1.0),
        ("grid_weight", -1.0),
        ("palette", 1.5),
        ("learning_rate", 0),
        ("learning_rate", None),
        ("final_learning_rate", 2),
        ("seed", -1),
        ("transformer", {"width": 0}),
        ("transformer", {"depth": 3}),
        ("transformer", 32),
        ("optimizer", "adam"),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="width" if value == {"width": 0} else field):
        TrainConfig.from_dict({field: value})


def test_a_training_has_no_palette_before_its_end() -> None:
    with pytest.raises(ConfigError, match="Leave transformer") as caught:
        TrainConfig.from_dict({"transformer": {"palette": True}})
    assert caught.value.field == "transformer"


def test_choices_are_those_of_the_modules_that_implement_them() -> None:
    assert get_args(config.Normalization) == get_args(gram.Normalization)
    assert get_args(config.TVKind) == get_args(tv.Kind)
    assert TrainConfig(size_px=transformer.MIN_SIDE_PX).size_px == images.DEFAULT_MIN_SIDE_PX


def test_differences_are_named_field_by_field() -> None:
    other = replace(TINY, steps=50, transformer=TransformerConfig(width=8, blocks=1), style_weights={"relu2_1": 1e-3})
    assert TINY.differences(TINY) == {}
    assert TINY.differences(other) == {
        "steps": "50, not 40",
        "transformer.width": "8, not 4",
        "style_weights.relu1_2": "None, not 0.001",
    }


def test_layers_include_all_that_are_needed() -> None:
    assert replace(TINY, content_layer="relu3_3").layers == ["relu1_2", "relu2_1", "relu3_3"]


def test_the_cosine_schedule_warms_up_and_decays_to_its_final_share() -> None:
    each = TrainConfig(steps=1000, warmup_steps=10, final_learning_rate=0.05, learning_rate=2e-3)
    rates = [each.learning_rate_at(step) for step in range(1001)]
    assert rates[0] == pytest.approx(2e-4)
    assert max(rates) == rates[9]
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[500] == pytest.approx(2e-3 * (1 + 0.05) / 2)
    assert rates[1000] == pytest.approx(2e-3 * 0.05)


def test_the_constant_rate_is_that_of_the_paper_without_warm_up() -> None:
    each = TrainConfig(schedule="constant", warmup_steps=0)
    assert {each.learning_rate_at(step) for step in range(2000)} == {1e-3}


def test_the_rate_decays_in_steps() -> None:
    each = TrainConfig(schedule="step", warmup_steps=2, decay_every_steps=3, decay_factor=0.1, learning_rate=1.0)
    rates = [each.learning_rate_at(step) for step in range(7)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01])
