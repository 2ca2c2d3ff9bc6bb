"""The config of an optimisation: validation, error messages, and a JSON round trip."""

import json
from typing import Any, get_args, get_type_hints

import pytest

from nst_core.errors import ConfigError
from nst_core.gatys import config as module
from nst_core.gatys.config import GatysConfig
from nst_core.losses import gram, tv
from nst_core.nets import loss_network, vgg_layers
from tests.architecture.test_imports import loaded_by

#: A config with another value than the default in every field.
OTHER = GatysConfig(
    network="vgg19",
    pooling="average",
    feature_scale=0.5,
    content={"relu3_1": 2.0},
    gram={"relu1_1": 3.0, "conv2_1": 4.0, "pool4": 0.0},
    gram_normalization="chw",
    histogram={"relu1_1": 0.5},
    moments={"relu2_2": 0.25},
    sliced={"relu3_4": 0.75},
    sliced_iterations=5,
    mrf={"relu3_4": 1e-3},
    mrf_stride=2,
    laplacian={4: 100.0, 16: 1600.0},
    tv_weight=1e-4,
    tv_kind="l1",
    balance=True,
    optimizer="adam",
    learning_rate=0.05,
    history=7,
    average_decay=0.9,
    iterations=11,
    coarse_iterations=5,
    size_px=64,
    scales=3,
    scale_ratio=1.5,
    style_size_px=48,
    style_scale=0.75,
    initial="noise",
    color="linear",
    seed=2**63 - 1,
)
UNSET = ("coarse_iterations", "size_px", "style_size_px", "learning_rate")


def test_a_config_survives_a_json_round_trip() -> None:
    default = GatysConfig().to_dict()
    assert [name for name, value in OTHER.to_dict().items() if value == default[name]] == []
    for config in (GatysConfig(), OTHER, GatysConfig.from_dict(OTHER.to_dict() | dict.fromkeys(UNSET))):
        assert GatysConfig.from_dict(config.to_dict()) == config
        assert GatysConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_poolings_of_the_laplacian_are_numbers_again_after_json() -> None:
    assert OTHER.to_dict()["laplacian"] == {"4": 100.0, "16": 1600.0}
    assert GatysConfig.from_dict({"laplacian": {"8": 1}}).laplacian == {8: 1.0}


def test_fields_that_are_not_given_have_their_default() -> None:
    assert GatysConfig.from_dict({"iterations": 7, "tv_weight": 2}) == GatysConfig(iterations=7, tv_weight=2.0)


def test_a_config_does_not_change_with_its_source_mapping() -> None:
    weights = {"relu1_1": 1.0}
    config = GatysConfig(gram=weights)
    weights["relu1_1"] = 2.0
    assert config.gram == {"relu1_1": 1.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", ""),
        ("network", None),
        ("network", ["vgg16"]),
        ("pooling", "min"),
        ("pooling", None),
        ("feature_scale", 0),
        ("feature_scale", 2e6),
        ("feature_scale", float("nan")),
        ("feature_scale", True),
        ("content", ["relu4_2"]),
        ("content", None),
        ("content", {"relu4_2": -1.0}),
        ("content", {"relu4_4": 1.0}),
        ("content", {"relu6_1": 1.0}),
        ("content", {4: 1.0}),
        ("gram", {"relu1_1": "5"}),
        ("gram", {"relu1_1": float("inf")}),
        ("gram", {"relu1_1": 1e31}),
        ("gram", {"relu1_0": 1.0}),
        ("gram", {"relu1_1 ": 1.0}),
        ("gram", {"fc6": 1.0}),
        ("gram_normalization", "c"),
        ("histogram", {"pool1_1": 1.0}),
        ("histogram", {"relu1_1": float("nan")}),
        ("moments", {"RELU1_1": 1.0}),
        ("moments", "relu1_1"),
        ("mrf", {"relu1_3": 1.0}),
        ("mrf", {"relu1_1": None}),
        ("sliced", {"relu9_1": 1.0}),
        ("sliced", {"relu1_1": -1.0}),
        ("sliced_iterations", 0),
        ("sliced_iterations", 2.5),
        ("mrf_stride", 0),
        ("mrf_stride", 65),
        ("laplacian", {"four": 1.0}),
        ("laplacian", {0: 1.0}),
        ("laplacian", {2.0: 1.0}),
        ("laplacian", {True: 1.0}),
        ("laplacian", {"-4": 1.0}),
        ("laplacian", {4: -1.0}),
        ("laplacian", [4]),
        ("tv_weight", -1e-9),
        ("tv_weight", float("inf")),
        ("tv_weight", "0"),
        ("tv_weight", None),
        ("tv_kind", "l2"),
        ("balance", 1),
        ("balance", True),
        ("optimizer", "sgd"),
        ("learning_rate", 0.0),
        ("learning_rate", 1.5),
        ("learning_rate", "fast"),
        ("history", 0),
        ("history", 2.0),
        ("average_decay", 1.0),
        ("average_decay", -0.1),
        ("average_decay", 0.9),
        ("iterations", 0),
        ("iterations", 10.0),
        ("iterations", True),
        ("iterations", None),
        ("coarse_iterations", 0),
        ("size_px", 0),
        ("size_px", "512"),
        ("size_px", 100_001),
        ("scales", 0),
        ("scales", 17),
        ("scale_ratio", 1),
        ("scale_ratio", 17.0),
        ("style_size_px", -1),
        ("style_scale", 0.0),
        ("style_scale", 17),
        ("initial", "photo"),
        ("color", "lab"),
        ("color", ["linear"]),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{field}\b.*\.$"):
        GatysConfig.from_dict({field: value})


@pytest.mark.parametrize(("field", "key"), [("tv_weight", None), ("learning_rate", None), ("gram", "relu1_1")])
def test_a_whole_number_beyond_all_floats_is_refused_too(field: str, key: str | None) -> None:
    huge = json.loads("1" + 400 * "0")
    with pytest.raises(ConfigError, match=rf"^{field}\b"):
        GatysConfig.from_dict({field: huge if key is None else {key: huge}})


def test_every_field_has_a_wrong_value_among_those_tested() -> None:
    marks = test_a_wrong_value_is_refused_by_name.pytestmark
    assert {field for field, _ in marks[0].args[1]} == set(GatysConfig().to_dict())


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"colour, tv\."):
        GatysConfig.from_dict({"tv": 1, "iterations": 5, "colour": "linear"})


def test_a_config_without_any_term_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to optimise"):
        GatysConfig(content={}, gram={"relu1_1": 0.0})
    assert GatysConfig(content={}, tv_weight=1.0).layers == ()
    assert GatysConfig(content={}, laplacian={4: 1.0}).layers == ()


def test_options_that_need_each_other_are_accepted_together() -> None:
    assert GatysConfig(balance=True, gram={"relu1_1": 1.0}).balance
    assert GatysConfig(average_decay=0.9, optimizer="adam").average_decay == 0.9
    with pytest.raises(ConfigError, match="balance"):
        GatysConfig(balance=True, gram={"relu1_1": 0.0})


def test_other_networks_may_have_layers_of_any_name() -> None:
    assert GatysConfig(network="resnet18", content={"layer2": 1.0}).layers == ("layer2",)
    assert GatysConfig(network="vgg19_caffe", content={"relu4_4": 1.0}).layers == ("relu4_4",)
    with pytest.raises(ConfigError, match="relu4_4"):
        GatysConfig(network="vgg16_torchvision", content={"relu4_4": 1.0})


def test_layers_with_a_weight_are_listed_once() -> None:
    config = GatysConfig(
        content={"relu4_2": 1.0},
        gram={"relu1_1": 1.0, "relu5_1": 0.0},
        histogram={"relu4_2": 1.0, "relu1_1": 1.0},
        moments={"relu2_1": 1.0},
        mrf={"relu3_1": 1.0},
    )
    assert sorted(config.layers) == ["relu1_1", "relu2_1", "relu3_1", "relu4_2"]
    assert config.active("gram") == {"relu1_1": 1.0}


@pytest.mark.parametrize("term", module.STYLE_TERMS)
def test_it_says_whether_it_needs_a_style(term: str) -> None:
    assert not GatysConfig.from_dict({term: {"relu1_1": 0.0}}).uses_style
    assert GatysConfig.from_dict({term: {"relu1_1": 1.0}}).uses_style


@pytest.mark.parametrize(
    ("layer", "min_side_px"),
    [("conv1_1", 1), ("relu1_2", 1), ("pool1", 2), ("relu2_1", 2), ("relu4_2", 8), ("relu5_1", 16), ("pool5", 32)],
)
@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_the_deepest_layer_decides_the_smallest_side(network: str, layer: str, min_side_px: int) -> None:
    config = GatysConfig(network=network, content={"conv1_1": 1.0}, gram={layer: 1.0}, moments={"pool5": 0.0})
    assert config.min_side_px == min_side_px


def test_the_smallest_side_of_other_configs() -> None:
    assert GatysConfig(content={}, tv_weight=1.0).min_side_px == 1
    assert GatysConfig(network="resnet18", content={"layer1": 1.0}).min_side_px == 32


def test_choices_are_those_of_the_modules_that_use_them() -> None:
    hints = get_type_hints(GatysConfig)
    assert get_args(hints["gram_normalization"]) == get_args(gram.Normalization)
    assert get_args(hints["tv_kind"]) == get_args(tv.Kind)
    assert get_args(hints["pooling"]) == get_args(loss_network.Pooling)


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_it_accepts_exactly_the_layers_that_the_network_has(network: str) -> None:
    kinds = [f"{kind}{b}_{i}" for kind in ("conv", "relu") for b in range(7) for i in range(6)]
    accepted = set()
    for layer in [*kinds, *(f"pool{b}" for b in range(7)), "pool1_1", "relu1", "norm1_1"]:
        try:
            accepted.add(GatysConfig(network=network, content={layer: 1.0}).layers[0])
        except ConfigError:
            continue
    assert accepted == set(vgg_layers.layer_names(network))


def test_configs_and_presets_are_made_without_torch() -> None:
    assert loaded_by(["nst_core.gatys.config", "nst_core.gatys.presets"], ["torch", "numpy"]) == []
