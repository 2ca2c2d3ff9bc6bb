"""Tests of nst_core.gatys.costs."""

from dataclasses import replace

import pytest

from nst_core.gatys import costs
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.presets import PRESETS
from nst_core.nets.costs import BASE_BYTES

WHOLE = costs.Plan(tile_pixels=None, history=20)


def test_an_optimization_needs_more_memory_with_a_longer_history_and_more_terms() -> None:
    plain = GatysConfig(gram={"relu1_1": 1.0}, optimizer="lbfgs", history=20)
    layers = {"relu1_1": 1.0}
    for plan in (WHOLE, costs.Plan(tile_pixels=2**18, history=20)):
        usual = costs.optimize_bytes(plain, 10**6, plan)
        assert costs.optimize_bytes(plain, 10**6, replace(plan, history=100)) == usual + 10**6 * 80 * 24
        for term in ("histogram", "moments", "sliced", "mrf"):
            more = GatysConfig.from_dict(plain.to_dict() | {term: layers})
            assert costs.optimize_bytes(more, 10**6, plan) > usual
    base = BASE_BYTES + costs.kernel_bytes(plain.network, plain.layers)
    assert costs.optimize_max_pixels(plain, costs.optimize_bytes(plain, 10**5, WHOLE)) == 10**5
    assert costs.optimize_max_pixels(plain, base - 1) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_what_does_not_fit_as_a_whole_is_optimised_in_tiles_with_as_much_history_as_fits(name: str) -> None:
    config, budget = PRESETS[name], costs.DEFAULT_MAX_BYTES
    most = costs.optimize_max_pixels(config, budget)
    plans = [costs.plan(config, most * percent // 100, budget) for percent in range(1, 101)]
    assert plans[0] == costs.Plan(tile_pixels=None, history=config.history)
    tiles = [each.tile_pixels or 2**30 for each in plans]
    assert tiles == sorted(tiles, reverse=True)
    histories = [each.history for each in plans]
    assert histories == sorted(histories, reverse=True)
    assert plans[-1].tile_pixels == costs.TILES[-1]
    assert plans[-1].history == (costs.LEAST_HISTORY if config.optimizer == "lbfgs" else config.history)
    # No tile is smaller than it must be for the whole history.
    assert all(each.history == config.history for each in plans if each.tile_pixels != costs.TILES[-1])


def test_a_network_that_cannot_be_cut_is_optimised_as_a_whole() -> None:
    config = GatysConfig(network="resnet18", content={}, gram={"layer1": 1.0})
    most = costs.optimize_max_pixels(config, costs.DEFAULT_MAX_BYTES)
    assert costs.plan(config, most, costs.DEFAULT_MAX_BYTES) == WHOLE
    assert costs.optimize_bytes(config, most + 1, WHOLE) > costs.DEFAULT_MAX_BYTES


@pytest.mark.parametrize(("name", "size_px"), [("gatys2016", 3000), ("risser2017", 2000), ("vgg19_adam", 3000)])
def test_large_pictures_fit_into_the_default_memory(name: str, size_px: int) -> None:
    assert costs.optimize_max_pixels(PRESETS[name], costs.DEFAULT_MAX_BYTES) >= size_px * size_px * 3 // 4


def test_the_loss_network_has_transformed_weights_up_to_its_deepest_layer() -> None:
    assert costs.kernel_bytes("vgg16", ["relu1_1"]) == 0
    pairs = 64 * 64 + 64 * 128 + 128 * 128
    assert costs.kernel_bytes("vgg16", ["relu1_1", "relu2_2"]) == pairs * 36 * 2 * 4
    assert costs.kernel_bytes("vgg19_caffe", ["pool4"]) > costs.kernel_bytes("vgg16", ["pool4"])
    assert costs.kernel_bytes("resnet18", ["layer1"]) == 0
