"""Tests of nst_core.inference.native_engine."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from nst_core.errors import ConfigError
from nst_core.inference.any_size import AnySizeStylizer
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.likeness import psnr_db
from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.stylizer import Pixels, Precision
from nst_core.nets import native
from nst_core.nets.grain import grained
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.styles import shipped_styles
from tests.shipped import shipped_style
from tests.unit.nst_core.inference.test_openvino_graph import photo
from tests.unit.nst_core.nets.native_kit import needs_compiler

SIZES = [(64, 64), (67, 70), (63, 101), (16, 17)]


@pytest.fixture(scope="module")
def stylizer() -> NativeStylizer:
    """Return a shipped style, run by the engine."""
    loaded = NativeStylizer.load(shipped_styles()[0].weights())
    assert isinstance(loaded, NativeStylizer)
    return loaded


@needs_compiler
def test_a_flat_photo_stays_flat(stylizer: NativeStylizer) -> None:
    flat = np.full((1, 40, 52, 3), (200, 30, 77), np.uint8)
    assert np.array_equal(stylizer(flat), EagerStylizer.load(shipped_styles()[0].weights())(flat))
    assert np.ptp(stylizer(flat), axis=(0, 1, 2)).max() == 0


def without_grain(name: str) -> TransformerNet:
    net = load_transformer_bytes(shipped_style(name).weights())
    net.config = replace(net.config, grain=0.0)
    return net


@needs_compiler
@pytest.mark.parametrize("precision", ["fp32", "int16"])
@pytest.mark.parametrize("colour", [(31, 67, 201), (128, 128, 128), (200, 30, 77)])
def test_a_flat_photo_stays_flat_in_strips(colour: tuple[int, ...], precision: Precision) -> None:
    net, flat = without_grain("great_wave"), np.full((1, 160, 96, 3), colour, np.uint8)
    strips = AnySizeStylizer(NativeStylizer(net, precision=precision), whole_pixels=0)
    assert np.array_equal(strips(flat), EagerStylizer(net)(flat))


def nearly_flat(levels: int) -> dict[str, Pixels]:
    """Return photos, 1 x H x W x 3, whose channels differ by up to so many levels."""
    noise = np.random.default_rng(1).integers(0, levels + 1, (192, 192, 3))
    dot = np.zeros((192, 192, 3), int)
    dot[0, 0] = levels
    ramp = np.broadcast_to(np.rint(np.linspace(0, levels, 192))[:, None, None], (192, 192, 3)).astype(int)
    levels_of = {"noise": noise, "dot": dot, "ramp": ramp}
    return {name: (200 + each)[None].astype(np.uint8) for name, each in levels_of.items()}


@needs_compiler
@pytest.mark.parametrize("style", ["udnie", "great_wave"])
def test_integers_are_too_coarse_for_nearly_flat_photos_without_grain(style: str) -> None:
    net = without_grain(style)
    engine, reference = NativeStylizer(net, precision="int16"), EagerStylizer(net)
    whole, strips = AnySizeStylizer(engine), AnySizeStylizer(engine, whole_pixels=0)
    for levels in (1, 2, 32):
        for name, batch in nearly_flat(levels).items():
            picture = whole(batch)
            assert psnr_db(picture, reference(batch)) > 50, (name, levels)
            assert np.array_equal(picture, strips(batch)), (name, levels)


@needs_compiler
def test_other_photos_beside_a_nearly_flat_one_and_photos_with_grain_stay_in_integers() -> None:
    nearly = nearly_flat(2)["noise"]
    other = photo(192, 192)
    engine = NativeStylizer(without_grain("udnie"), precision="int16")
    stylizer = AnySizeStylizer(engine)
    both = stylizer(np.concatenate([nearly, other]))
    assert np.array_equal(both, np.concatenate([stylizer(nearly), engine(other)]))
    with_grain = NativeStylizer(load_transformer_bytes(shipped_style("udnie").weights()), precision="int16")
    grainy = grained(nearly[0], with_grain.config.grain)[None]
    assert np.array_equal(AnySizeStylizer(with_grain)(nearly), with_grain(grainy))


@needs_compiler
def test_a_picture_has_the_same_bytes_each_time_and_in_each_thread(stylizer: NativeStylizer) -> None:
    batches = [photo(*size) for size in SIZES]
    first = [stylizer(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(stylizer, batches))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@needs_compiler
def test_a_picture_has_the_same_bytes_with_any_number_of_threads(stylizer: NativeStylizer) -> None:
    before, batch = torch.get_num_threads(), photo(130, 97)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(stylizer(batch))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_openvino_runs_networks_without_kernels() -> None:
    weights = dump_transformer(TransformerNet(TransformerConfig(width=8, blocks=1)))
    loaded = NativeStylizer.load(weights)
    assert isinstance(loaded, OpenvinoStylizer)
    assert loaded.choice.engine == "openvino"


def test_it_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(ConfigError, match=r"needs a C compiler \(gcc\)"):
        NativeStylizer(TransformerNet())


def test_it_runs_on_the_cpu_alone() -> None:
    with pytest.raises(ConfigError, match="runs on the CPU, not on cuda"):
        NativeStylizer.load(b"", device="cuda")


@needs_compiler
def test_nbytes_counts_the_kernels(stylizer: NativeStylizer) -> None:
    assert stylizer.nbytes > 2 * EagerStylizer.load(shipped_styles()[0].weights()).nbytes
