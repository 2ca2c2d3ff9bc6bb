"""Tests of nst_core.nets.costs: what the estimates follow from; the benchmark compares them with what is used."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nst_core.gatys.config import GatysConfig
from nst_core.nets import costs
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.system.memory import KEPT_BYTES
from nst_core.training.config import TrainConfig

PHONE_PX = 4032 * 3024
USUAL = TransformerConfig()


@pytest.mark.parametrize("config", [USUAL, TransformerConfig(width=512, blocks=0), TransformerConfig(padding="zero")])
@pytest.mark.parametrize("budget", [2**28, 2**30, KEPT_BYTES, 2**33, 2**40])
def test_the_most_pixels_of_a_budget_take_just_that_budget(config: TransformerConfig, budget: int) -> None:
    most = costs.max_pixels(config, budget)
    if most:
        assert costs.stylize_bytes(config, most) <= budget
    assert costs.stylize_bytes(config, most + 10_000) > budget or most == 0


def test_a_network_of_16_times_the_width_takes_10_times_the_memory_and_more() -> None:
    wide = replace(USUAL, width=512)
    assert costs.stylize_bytes(wide, 10**7) > 10 * costs.stylize_bytes(USUAL, 10**7)


def test_a_photo_of_a_phone_fits_a_machine_of_16_gib() -> None:
    assert costs.max_pixels(USUAL, int(0.8 * 16 * 2**30) - 2**30) > PHONE_PX


def test_a_training_takes_more_with_every_size() -> None:
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
    # No tiles for networks that may look at the whole picture.
    other = TrainConfig(network="resnet18", content_layer="layer1", style_weights={"layer2": 1.0}, style_size_px=10_240)
    assert costs.training_bytes(other) > 100 * 2**30


def test_an_optimisation_takes_more_with_a_longer_history_and_more_terms() -> None:
    plain = GatysConfig(gram={"relu1_1": 1.0}, optimizer="lbfgs", history=20)
    usual = costs.optimize_bytes(plain, 10**6)
    assert costs.optimize_bytes(replace(plain, history=100), 10**6) == usual + 80 * 24 * 10**6
    layers = {"relu1_1": 1.0}
    for more in (replace(plain, histogram=layers), replace(plain, moments=layers), replace(plain, mrf=layers)):
        assert costs.optimize_bytes(more, 10**6) > usual
    assert costs.optimize_bytes(plain, 10**6, 4 * 10**6) > 3 * usual
    assert costs.optimize_max_pixels(plain, costs.optimize_bytes(plain, 10**6)) == pytest.approx(10**6, rel=0.01)


MEASURE = """
from tests.benchmarks.memory import case
print(*case("stylize width 32, 0.25 MP"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_photo_takes_no_more_memory_than_estimated() -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=root, capture_output=True, text=True, check=True)
    estimate, measured = map(int, done.stdout.split()[-2:])
    assert estimate / 4 < measured <= estimate
