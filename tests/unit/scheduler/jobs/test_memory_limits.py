"""What is refused because it would take more memory than workers have, or make them download too much."""

from dataclasses import replace
from pathlib import Path

import pytest

from nst_core.client.resources.methods import Optimize
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.weights import save_transformer
from nst_core.nets.weights_header import read_config
from nst_core.styles import families
from nst_core.training import presets
from nst_core.training.config import TrainConfig
from scheduler.domain.errors import RequestInvalidError
from scheduler.jobs.methods.optimize import resolve
from scheduler.runs.requests import check_step
from scheduler.styles.weights import MAX_WEIGHTS_BYTES, check_memory


def test_every_preset_at_its_largest_stroke_is_allowed() -> None:
    for name, preset in presets.presets().items():
        family = None if preset.family is None else read_config(families()[preset.family].weights())
        check_step(presets.resolve(name, family=family, stroke=20.0).config)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 64, "size_px": 512},
        {"transformer": {"width": 512}, "size_px": 1024},
        {"transformer": {"width": 256, "blocks": 64}, "batch_size": 8},
        # Classifiers other than VGG look at the whole style picture at once.
        {"network": "resnet18", "content_layer": "layer1", "style_weights": {"layer2": 1.0}, "style_size_px": 10_240},
    ],
)
def test_a_training_that_takes_too_much_memory_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(RequestInvalidError, match="GiB of memory, and 16 are the most: choose a smaller batch_size"):
        check_step(TrainConfig.from_dict(options))


@pytest.mark.parametrize("network", [{"width": 256}, {"width": 128, "blocks": 16}, {"width": 512, "blocks": 1}])
def test_a_training_whose_style_could_not_be_kept_is_refused(network: dict[str, object]) -> None:
    config = TrainConfig.from_dict({"transformer": network, "batch_size": 1, "size_px": 64})
    with pytest.raises(RequestInvalidError, match=r"its weights have \d+ MiB; a style may have 128 MiB") as caught:
        check_step(config)
    assert caught.value.pointer == "/options/transformer"


def test_the_weights_of_the_widest_training_can_be_kept(tmp_path: Path) -> None:
    config = TransformerConfig(width=197, blocks=5)
    check_step(TrainConfig(transformer=config, batch_size=1, size_px=64))
    with pytest.raises(RequestInvalidError, match="a style may have 128 MiB"):
        check_step(TrainConfig(transformer=replace(config, width=204), batch_size=1, size_px=64))
    save_transformer(TransformerNet(config), tmp_path / "style.safetensors")
    assert 0.9 * MAX_WEIGHTS_BYTES < (tmp_path / "style.safetensors").stat().st_size <= MAX_WEIGHTS_BYTES


def test_a_loss_network_that_workers_do_not_offer_is_refused_for_trainings() -> None:
    config = TrainConfig(network="regnet_y_128gf", content_layer="trunk", style_weights={"trunk": 1.0})
    with pytest.raises(RequestInvalidError, match="network must be one of vgg16, ") as caught:
        check_step(config)
    assert caught.value.pointer == "/options/network"


def test_a_loss_network_that_workers_do_not_offer_is_refused_for_optimisations() -> None:
    request = Optimize(options={"network": "vit_h_14", "content": {"ln": 1.0}, "gram": {"ln": 1.0}})
    with pytest.raises(RequestInvalidError, match="network must be one of vgg16, ") as caught:
        resolve(["s3://b/a.jpg"], request)
    assert caught.value.pointer == "/optimize/options/network"


def test_a_style_that_takes_too_much_memory_is_refused() -> None:
    for usual in (TransformerConfig(), TransformerConfig(width=128), TransformerConfig(width=512, blocks=0)):
        check_memory(usual)
    with pytest.raises(RequestInvalidError, match="a width of 512 and 64 blocks"):
        check_memory(TransformerConfig(width=512, blocks=64))


@pytest.mark.parametrize("options", [{"style_crops": 10_000}, {"style_size_px": 16_384}])
def test_a_training_that_would_look_at_its_painting_for_many_minutes_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(RequestInvalidError, match=r"look at \d+ megapixels of its painting, and 134 are") as caught:
        check_step(TrainConfig.from_dict({"size_px": 256, **options}))
    assert caught.value.pointer == f"/options/{next(iter(options))}"
    check_step(TrainConfig.from_dict({"size_px": 256, "style_size_px": 8192}))
    check_step(TrainConfig.from_dict({"size_px": 256, "style_crops": 1000}))
