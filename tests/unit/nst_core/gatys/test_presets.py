"""Presets from published papers: each is valid, can be changed by field, and makes a picture."""

from typing import Any

import pytest

from nst_core.errors import ConfigError
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.presets import CAFFE_SCALE, PRESETS, preset
from nst_core.gatys.sources import StyleSource
from tests.unit.nst_core.gatys.kit import is_sound, make, photo, run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", PRESETS)
def test_each_is_a_config_of_the_bundled_network(name: str) -> None:
    config = preset(name)
    assert config == PRESETS[name]
    assert GatysConfig.from_dict(config.to_dict()) == config
    assert config.network == "vgg16"
    assert config.uses_style


@pytest.mark.parametrize("name", PRESETS)
def test_each_makes_a_picture_from_photo_and_painting(name: str) -> None:
    config = preset(name, size_px=64, style_size_px=64, iterations=2, coarse_iterations=1, scales=1)
    content = photo("chelsea", width=64, height=48)
    painting = photo("coffee", width=64, height=56)
    optimizer = make(config, content_image=content, styles=[StyleSource(image=painting)])
    totals = run(optimizer)
    result = optimizer.result()
    assert result.shape == content.shape
    assert is_sound(result)
    assert (result - content).abs().mean() > 1e-3
    assert result.std() > 0.05
    assert totals[1] < totals[0]


@pytest.mark.parametrize("name", [name for name, config in PRESETS.items() if config.scales > 1])
def test_presets_with_several_sizes_use_all_of_them(name: str) -> None:
    config = preset(name, size_px=64, style_size_px=64, iterations=1, coarse_iterations=1, scales=2)
    optimizer = make(config, content_image=photo("chelsea", width=64, height=48))
    sizes = [optimizer.step().size_px, optimizer.step().size_px]
    assert sizes == [(round(64 / config.scale_ratio), round(48 / config.scale_ratio)), (64, 48)]
    assert is_sound(optimizer.result())


def test_named_fields_are_changed_and_all_others_kept() -> None:
    config = preset("gatys2016", iterations=7, tv_weight=2.0)
    assert (config.iterations, config.tv_weight) == (7, 2.0)
    assert config.to_dict() == PRESETS["gatys2016"].to_dict() | {"iterations": 7, "tv_weight": 2.0}


@pytest.mark.parametrize("name", PRESETS)
def test_another_network_gets_its_own_layers_with_features_of_the_same_size(name: str) -> None:
    own = preset(name)
    assert preset(name, network="vgg19").feature_scale == pytest.approx(own.feature_scale * CAFFE_SCALE)
    assert preset(name, network="vgg16_torchvision").feature_scale == pytest.approx(own.feature_scale * CAFFE_SCALE)
    assert preset(name, network="vgg19_caffe").feature_scale == own.feature_scale
    assert preset(name, network="vgg16_caffe").layers == own.layers


def test_the_last_layers_of_blocks_are_those_of_the_network() -> None:
    assert preset("vgg19_adam").content == {"relu4_3": 1.0}
    for network in ("vgg19", "vgg19_caffe"):
        config = preset("vgg19_adam", network=network)
        assert list(config.content) == ["relu4_4"]
        assert list(config.gram) == ["relu1_2", "relu2_2", "relu3_4", "relu4_4", "relu5_4"]
        assert list(config.gram.values()) == list(preset("vgg19_adam").gram.values())


def test_what_another_network_implies_can_be_overridden() -> None:
    config = preset("vgg19_adam", network="vgg19", feature_scale=0.5, gram={"relu1_1": 1.0})
    assert (config.feature_scale, config.gram) == (0.5, {"relu1_1": 1.0})
    assert list(config.content) == ["relu4_4"]


@pytest.mark.parametrize("name", ["", "gatys", "GATYS2016"])
def test_an_unknown_preset_is_refused_with_the_names_that_exist(name: str) -> None:
    with pytest.raises(ConfigError, match="gatys2016, "):
        preset(name)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"iteration": 5}, "iteration"), ({"iterations": 0}, "iterations"), ({"network": 5}, "network")],
)
def test_an_unknown_field_or_a_wrong_value_is_refused_by_name(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preset("gatys2016", **overrides)
