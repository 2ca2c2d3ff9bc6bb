"""Tests of nst_core.nets.costs: the rules of the estimates. A benchmark compares them with the memory used."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nst_core.nets import costs
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.system.memory import KEPT_BYTES

PHONE_PX = 4032 * 3024
USUAL = TransformerConfig()


@pytest.mark.parametrize("config", [USUAL, TransformerConfig(width=512, blocks=0), TransformerConfig(padding="zero")])
@pytest.mark.parametrize("budget", [2**28, 2**30, KEPT_BYTES, 2**33, 2**40])
def test_the_most_pixels_for_a_budget_need_exactly_that_budget(config: TransformerConfig, budget: int) -> None:
    most = costs.max_pixels(config, budget)
    if most:
        assert costs.stylize_bytes(config, most) <= budget
    assert costs.stylize_bytes(config, most + 10_000) > budget or most == 0


def test_a_network_with_16_times_the_width_needs_over_10_times_the_memory() -> None:
    wide = replace(USUAL, width=512)
    assert costs.stylize_bytes(wide, 10**7) > 10 * costs.stylize_bytes(USUAL, 10**7)


def test_a_phone_photo_fits_a_machine_with_16_gib() -> None:
    assert costs.max_pixels(USUAL, int(0.8 * 16 * 2**30) - 2**30) > PHONE_PX


MEASURE = """
from tests.benchmarks.memory import case
print(*case("stylize width 32, 0.25 MP"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_photo_needs_no_more_memory_than_estimated() -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=root, capture_output=True, text=True, check=True)
    estimate, measured = map(int, done.stdout.split()[-2:])
    assert estimate / 4 < measured <= estimate


def test_maps_of_large_pictures_take_what_the_budget_leaves() -> None:
    pixels = 16_000_000
    assert costs.maps_in_memory(USUAL, pixels) == costs.MAPS_IN_MEMORY
    least = costs.strips_bytes(USUAL, pixels)
    found = [costs.maps_in_memory(USUAL, pixels, least + more) for more in (-1, 1000, 2**40)]
    assert found == [0, 1000, costs.MAPS_IN_MEMORY]
    assert costs.strips_max_pixels(USUAL, least) == pixels
    # Larger strips leave less for maps.
    larger = costs.strips_bytes(USUAL, pixels, room=2 * costs.STRIP_ROOM)
    assert larger - least > least / 2
    assert costs.maps_in_memory(USUAL, pixels, larger + 1000, room=2 * costs.STRIP_ROOM) == 1000
