"""Tests of nst_core.inference.engines."""

import numpy as np
import pytest

from nst_core.errors import ConfigError, WeightsError
from nst_core.inference.engines import ENGINES, load_stylizer
from nst_core.inference.stylizer import EngineChoice, Precision
from nst_core.styles import shipped_styles


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_matches_the_reference(engine: str) -> None:
    weights = shipped_styles()[0].weights()
    photo = np.random.default_rng(0).integers(0, 256, (1, 40, 33, 3), np.uint8)
    expected = load_stylizer(weights)(photo)
    stylizer = load_stylizer(weights, choice=EngineChoice(engine=engine, precision="fp32"))
    assert stylizer.choice == EngineChoice(engine=engine, precision="fp32")
    assert np.abs(stylizer(photo).astype(int) - expected).max() <= 1
    assert stylizer.nbytes > 0
    assert stylizer.max_batch >= 1
    assert stylizer.max_pixels(10**9) > stylizer.min_side_px**2


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="The engine must be one of eager, openvino, cuda, not 'steam'"):
        load_stylizer(b"", choice=EngineChoice(engine="steam", precision="fp32"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_precision_that_an_engine_does_not_have_is_refused(engine: str) -> None:
    weights = shipped_styles()[0].weights()
    lacking: Precision = "fp16" if engine == "openvino" else "int8"
    with pytest.raises(ConfigError, match=f"The engine {engine} has the precision.* not {lacking}"):
        load_stylizer(weights, choice=EngineChoice(engine=engine, precision=lacking))


def test_damaged_weights_are_refused() -> None:
    with pytest.raises(WeightsError):
        load_stylizer(b"not weights")
