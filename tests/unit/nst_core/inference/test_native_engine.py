"""Tests of nst_core.inference.native_engine."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from nst_core.errors import ConfigError
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.nets import native
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import dump_transformer
from nst_core.styles import shipped_styles
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
