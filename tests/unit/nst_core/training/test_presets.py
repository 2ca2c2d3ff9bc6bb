"""Presets of training: the config of each, and how a client's options change it."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from nst_core.errors import ConfigError
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.weights_header import read_config
from nst_core.styles import families
from nst_core.training.config import DEFAULT_STYLE_WEIGHTS
from nst_core.training.presets import TEACHER, presets, resolve
from nst_core.training.scales import STRENGTHS, STROKES
from tests.shipped import shipped_style

#: An instant style needs a family.
each = pytest.mark.parametrize("name", [preset.name for preset in presets().values() if preset.family is None])


@each
def test_a_preset_without_options_is_its_own_config(name: str) -> None:
    preset, recipe = presets()[name], resolve(name)
    assert preset.name == name
    assert preset.summary.endswith(".")
    assert recipe.config == preset.config
    assert recipe.initial_style == preset.initial_style


@each
def test_the_initial_weights_of_a_preset_match_its_network(name: str) -> None:
    preset = presets()[name]
    if preset.initial_style is not None:
        weights = BytesIO(shipped_style(preset.initial_style).weights())
        initial = read_config(weights, name=preset.initial_style)
        assert preset.config.transformer.takes_weights_of(initial.single)


def test_the_papers_preset_has_its_numbers() -> None:
    recipe = resolve("paper")
    config = recipe.config
    assert (config.steps, config.batch_size, config.size_px) == (40_000, 4, 256)
    assert (config.learning_rate, config.schedule, config.zoom) == (1e-3, "constant", 1.0)
    assert (config.content_layer, config.content_weight, config.gram) == ("relu3_3", 1.0, "chw")
    assert set(config.style_weights.values()) == {5.0}
    assert recipe.initial_style is None


def test_a_style_of_a_family_learns_its_norms_beside_the_identity() -> None:
    family = TransformerConfig(width=8, styles=5, identity=True, grain=3.0)
    recipe = resolve(family=family, steps=7)
    assert (recipe.preset, recipe.config.trained, recipe.config.steps) == ("norms", "norms", 7)
    assert recipe.config.transformer == replace(family, styles=2)
    assert recipe.config.paintings == 1
    assert recipe.initial_style is None
    assert resolve(family=replace(family, identity=False)).config.transformer == replace(
        family, styles=1, identity=False
    )
    with pytest.raises(ConfigError, match="is trained with the preset norms or instant, not quick") as caught:
        resolve("quick", family=family)
    assert caught.value.field == "preset"
    with pytest.raises(ConfigError, match="must have a weight"):
        resolve(family=family, options={"trained": "all"})
    with pytest.raises(ConfigError, match="leave transformer out"):
        resolve(family=family, options={"transformer": {"width": 16}})
    assert resolve(family=family, options={"identity_weight": 10.0, "trained": "norms"}).config.identity_weight == 10.0


@pytest.mark.parametrize("trained", ["all", "identity"])
def test_nothing_but_the_norms_learns_in_a_style_of_a_family(trained: str) -> None:
    family = TransformerConfig(width=8, styles=5, identity=True)
    with pytest.raises(ConfigError, match="nothing but the norms learns: leave trained out") as caught:
        resolve(family=family, options={"trained": trained, "identity_weight": 10.0})
    assert caught.value.field == "trained"


def test_a_style_of_a_family_begins_with_the_family() -> None:
    with pytest.raises(ConfigError, match="leave initial out") as caught:
        resolve(family=TransformerConfig(width=8, styles=5, identity=True), initial="udnie")
    assert caught.value.field == "initial"


def test_a_training_begins_with_the_style_that_is_named_or_with_the_presets() -> None:
    assert resolve("quick").initial_style == TEACHER
    assert resolve("quick", initial="mine@12345678").initial_style == "mine@12345678"
    assert resolve("quick", initial="none").initial_style is None
    assert resolve("paper").initial_style is None


def test_a_network_with_the_identity_begins_with_the_presets_style_too() -> None:
    options = {"identity_weight": 10.0, "transformer": {"styles": 2}}
    assert resolve("quick", options=options).initial_style == TEACHER


@pytest.mark.parametrize("initial", [None, "none"])
def test_the_identity_alone_learns_beside_a_style_that_the_client_names(initial: str | None) -> None:
    options = {"trained": "identity", "identity_weight": 10.0, "transformer": {"styles": 2}}
    with pytest.raises(ConfigError, match="say which one in initial") as caught:
        resolve(initial=initial, options=options)
    assert caught.value.field == ("trained" if initial is None else "initial")
    assert resolve(initial="great_wave", options=options).initial_style == "great_wave"


def test_norms_do_not_learn_alone_beside_random_weights() -> None:
    for wishes in ({"preset": "norms", "initial": "none"}, {"preset": "paper", "options": {"trained": "norms"}}):
        with pytest.raises(ConfigError, match="must begin with the weights of a style"):
            resolve(**wishes)
    assert resolve("norms").initial_style == "udnie"


def test_an_instant_style_is_one_of_a_family() -> None:
    family = TransformerConfig(width=8, styles=5, identity=True)
    recipe = resolve("instant", family=family)
    assert (recipe.preset, recipe.config.trained, recipe.config.paintings) == ("instant", "norms", 1)
    assert recipe.config.steps < presets()["norms"].config.steps
    assert presets()["instant"].family in families()
    with pytest.raises(ConfigError, match="for a style of a family, such as painters") as caught:
        resolve("instant")
    assert caught.value.field == "family"


def test_the_default_preset_depends_on_whether_the_style_joins_a_family() -> None:
    assert resolve().preset == "standard"
    assert resolve(family=TransformerConfig()).preset == "norms"


def test_quick_is_shorter_than_standard_and_standard_than_the_paper() -> None:
    quick, standard, paper = (presets()[name].config.steps for name in ("quick", "standard", "paper"))
    assert quick < standard < paper


def test_all_presets_but_the_paper_give_the_colours_of_the_painting() -> None:
    shares = {name: preset.config.palette for name, preset in presets().items()}
    assert shares == {"quick": 1.0, "standard": 1.0, "norms": 1.0, "instant": 1.0, "paper": 0.0}


def test_an_unknown_preset_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigError, match="quick, standard, norms, instant, paper, not 'best'"):
        resolve("best")


@each
def test_steps_and_seed_are_used(name: str) -> None:
    config = resolve(name, steps=123, seed=7).config
    assert (config.steps, config.seed) == (123, 7)


def test_options_override_the_preset_and_steps_override_options() -> None:
    options = {"steps": 8, "seed": 2, "batch_size": 1, "tv_weight": 3}
    config = resolve("standard", options=options).config
    assert (config.steps, config.seed, config.batch_size, config.tv_weight) == (8, 2, 1, 3)
    assert config.final_learning_rate == presets()["standard"].config.final_learning_rate
    assert resolve("standard", steps=9, options=options).config.steps == 9


def test_a_stroke_multiplies_the_size_of_the_style_picture() -> None:
    assert resolve("standard", stroke=1.5).config.style_size_px == 960
    assert resolve("standard", stroke=0.5, options={"style_size_px": 300}).config.style_size_px == 150
    weights = presets()["standard"].config.style_weights
    assert resolve("standard", stroke=1.5).config.style_weights == weights


def test_strength_multiplies_the_weights_of_the_style() -> None:
    assert resolve("paper", strength=2.0).config.style_weights == dict.fromkeys(DEFAULT_STYLE_WEIGHTS, 10.0)
    weights = presets()["standard"].config.style_weights
    doubled = {layer: 2 * weight for layer, weight in weights.items()}
    assert resolve("standard", strength=2.0).config.style_weights == doubled
    given = resolve("standard", strength=0.5, options={"style_weights": {"relu1_2": 4.0}})
    assert given.config.style_weights == {"relu1_2": 2.0}


def test_a_whole_config_can_be_given_as_options() -> None:
    config = presets()["quick"].config
    assert resolve("standard", options=config.to_dict()).config == config


def test_another_normalisation_brings_its_own_weights() -> None:
    config = resolve("standard", options={"gram": "chw"}).config
    assert (config.gram, config.style_weights) == ("chw", DEFAULT_STYLE_WEIGHTS)
    both = resolve("standard", options={"gram": "hw", "style_weights": {"relu1_2": 4.0}}).config
    assert (both.gram, both.style_weights) == ("hw", {"relu1_2": 4.0})


def test_given_weights_are_unchanged_without_a_strength() -> None:
    recipe = resolve("quick", options={"style_weights": {"relu1_2": 4.0}})
    assert recipe.config.style_weights == {"relu1_2": 4.0}


def test_another_network_starts_with_random_weights() -> None:
    assert resolve("quick").initial_style == TEACHER
    narrow = resolve("quick", options={"transformer": {"width": 16}})
    assert narrow.initial_style is None
    assert narrow.config.transformer.output == "tanh", "the rest of the network is the preset's"
    same = presets()["quick"].config.transformer.to_dict()
    assert resolve("quick", options={"transformer": same}).initial_style == TEACHER


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"stroke": STROKES[0] / 2}, r"stroke must be a number from 0\.05 to 20"),
        ({"stroke": STROKES[1] * 2}, "stroke must be"),
        ({"stroke": float("nan")}, "stroke must be"),
        ({"strength": 0.0}, r"strength must be a number from 0\.01 to 100"),
        ({"strength": STRENGTHS[1] * 2}, "strength must be"),
        ({"strength": float("inf")}, "strength must be"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"seed": -1}, "seed must be"),
        ({"options": {"colour": 1}}, "Unknown training config fields: colour"),
        ({"options": {"batch_size": "two"}}, "batch_size must be"),
        ({"options": {"transformer": {"depth": 3}}}, "Unknown transformer config fields: depth"),
        ({"options": {"style_size_px": 20}, "stroke": 0.1}, "style_size_px must be"),
        ({"options": {"style_factors": [3.0]}}, "style_factors is for networks of several paintings: use strength"),
        ({"options": {"style_strokes": [2.0]}}, "style_strokes is for networks of several paintings: use stroke"),
    ],
)
def test_impossible_options_are_refused_by_name(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve("standard", **wishes)


@pytest.mark.parametrize("stroke", STROKES)
@pytest.mark.parametrize("strength", STRENGTHS)
@each
def test_every_allowed_option_gives_a_config(name: str, stroke: float, strength: float) -> None:
    recipe = resolve(name, stroke=stroke, strength=strength)
    assert recipe.config.style_size_px == round(presets()[name].config.style_size_px * stroke)


def test_a_config_does_not_change_the_options_or_the_preset() -> None:
    options = {"style_weights": {"relu1_2": 4.0}, "transformer": {"output": "tanh"}}
    before = presets()["quick"].config.to_dict()
    resolve("quick", strength=3.0, stroke=2.0, options=options)
    assert options == {"style_weights": {"relu1_2": 4.0}, "transformer": {"output": "tanh"}}
    assert presets()["quick"].config.to_dict() == before


def test_a_network_with_several_styles_is_refused() -> None:
    with pytest.raises(ConfigError, match="trains one style") as caught:
        resolve("quick", options={"transformer": {"styles": 2}})
    assert caught.value.field == "transformer"
