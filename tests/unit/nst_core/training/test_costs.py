"""Tests of nst_core.training.costs."""

from nst_core.training import costs
from nst_core.training.config import TrainConfig


def test_a_training_needs_more_memory_with_every_size() -> None:
    usual = costs.training_bytes(TrainConfig())
    for larger in (
        {"batch_size": 8},
        {"size_px": 512},
        {"transformer": {"width": 64}},
        {"transformer": {"blocks": 20}},
        {"stability_weight": 1.0},
        {"style_size_px": 10_240},
    ):
        assert costs.training_bytes(TrainConfig.from_dict(larger)) > usual


def test_a_large_style_picture_costs_its_pixels_and_the_features_of_a_tile() -> None:
    usual = costs.training_bytes(TrainConfig())
    assert costs.training_bytes(TrainConfig(style_size_px=10_240)) - usual < 6 * 2**30
    # There are no tiles for networks that may see the whole picture.
    other = TrainConfig(network="resnet18", content_layer="layer1", style_weights={"layer2": 1.0}, style_size_px=10_240)
    assert costs.training_bytes(other) > 100 * 2**30
