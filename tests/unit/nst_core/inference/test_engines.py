"""Tests of nst_core.inference.engines."""

import numpy as np
import pytest
import torch

from nst_core.errors import ConfigError, WeightsError
from nst_core.inference.any_size import AnySizeStylizer
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.engines import ENGINES, load_stylizer
from nst_core.inference.stylizer import EngineChoice, Precision
from nst_core.nets import native
from nst_core.nets.families import Style, joined, one_style, without_palettes
from nst_core.nets.grain import grained
from nst_core.nets.palettes import Palette, finished
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.styles import shipped_styles

#: `native` needs a compiler.
HERE = [name for name in ENGINES if name != "native" or native.library() is not None]


@pytest.mark.parametrize("engine", HERE)
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


def test_whether_the_reference_cuts_a_photo_does_not_depend_on_memory() -> None:
    """Strips and whole pictures differ in the last bits, and a retry may run on a worker with another memory."""
    tiny, photo = (
        dump_transformer(TransformerNet(TransformerConfig(width=2, blocks=0))),
        np.random.default_rng(0).integers(0, 256, (1, 1240, 1250, 3), np.uint8),
    )
    results = []
    for budget_bytes in (None, 10**9, 10**12):
        passes: list[None] = []
        stylizer = load_stylizer(tiny, budget_bytes=budget_bytes, progress=lambda to=passes: to.append(None))  # type: ignore[misc]
        results.append(stylizer(photo))
        assert len(passes) > 1
        assert stylizer(photo[:, :1200, :1200]).shape == (1, 1200, 1200, 3)
    assert (results[0] == results[1]).all()
    assert (results[0] == results[2]).all()


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize("style", [1, {0: 0.5, 1: 0.5}])
def test_every_engine_serves_the_styles_of_a_family_and_their_blends(engine: str, style: Style) -> None:
    first, second = (without_palettes(load_transformer_bytes(shipped_styles()[0].weights())) for _ in range(2))
    for name in second.config.style_tensors():
        second.get_parameter(name).mul_(0.4)
    family = joined([first, second])
    photo = np.random.default_rng(0).integers(0, 256, (1, 40, 33, 3), np.uint8)
    expected = AnySizeStylizer(EagerStylizer(one_style(family, style)))(photo)
    choice = EngineChoice(engine=engine, precision="fp32")
    stylizer = load_stylizer(dump_transformer(family, dtype=torch.float32), style=style, choice=choice)
    assert np.abs(stylizer(photo).astype(int) - expected).max() <= 1
    assert np.abs(expected.astype(int) - AnySizeStylizer(EagerStylizer(first))(photo)).max() > 10


@pytest.mark.parametrize("engine", HERE)
def test_every_engine_gives_pictures_the_colours_of_the_palette(engine: str) -> None:
    net = load_transformer_bytes(shipped_styles()[0].weights())
    photos = np.random.default_rng(1).integers(0, 256, (2, 40, 33, 3), np.uint8)
    choice = EngineChoice(engine=engine, precision="fp32")
    seen = torch.cat([to_tensor(grained(photo, net.config.grain)) for photo in photos])
    expected = np.stack([finished(image[None], Palette.of(net)).numpy() for image in net(seen)]).astype(int)
    plain, made = (
        load_stylizer(dump_transformer(each, dtype=torch.float32), choice=choice)(photos)
        for each in (without_palettes(net), net)
    )
    assert np.abs(made - expected).max() <= 1
    assert np.abs(plain - expected).max() > 10


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="The engine must be one of eager, openvino, native, cuda, not 'steam'"):
        load_stylizer(b"", choice=EngineChoice(engine="steam", precision="fp32"))


@pytest.mark.parametrize("engine", HERE)
def test_a_precision_that_an_engine_does_not_have_is_refused(engine: str) -> None:
    weights = shipped_styles()[0].weights()
    lacking: Precision = "fp16" if engine == "openvino" else "int8"
    with pytest.raises(ConfigError, match=f"The engine {engine} has the precision.* not {lacking}"):
        load_stylizer(weights, choice=EngineChoice(engine=engine, precision=lacking))


def test_damaged_weights_are_refused() -> None:
    with pytest.raises(WeightsError):
        load_stylizer(b"not weights")
