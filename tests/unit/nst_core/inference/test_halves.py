"""Tests of nst_core.inference.halves: networks whose maps are too large for float16."""

from typing import Any

import numpy as np
import pytest
import torch

from nst_core.errors import WeightsError
from nst_core.inference.any_size import AnySizeStylizer
from nst_core.inference.cuda import CudaStylizer
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.halves import HalfOverflowError, check, largest
from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.strips import LargePicture
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from tests.unit.nst_core.inference.test_openvino_graph import photo
from tests.unit.nst_core.nets.native_kit import needs_compiler

#: What is multiplied, and how much: maps that are stored between passes, and others.
LARGE = {
    "encoder": ("down3.conv.weight", 3e5),
    "first": ("down1.conv.weight", 1e7),
    "block": ("residuals.0.conv1.weight", 3e5),
    "sum": ("residuals.1.norm2.weight", 1e5),
    "decoder": ("up1.conv.weight", 3e5),
}


def net(name: str | None = None, factor: float = 1.0) -> TransformerNet:
    """Return a network with one large tensor."""
    torch.manual_seed(3)
    made = TransformerNet(TransformerConfig(width=32, blocks=2)).eval().requires_grad_(False)
    made.head.weight.mul_(10)
    if name:
        made.get_parameter(name).mul_(factor)
    return made


ENGINES = [
    pytest.param(EagerStylizer, id="eager"),
    pytest.param(OpenvinoStylizer, id="openvino"),
    pytest.param(lambda made: CudaStylizer(made, device="cpu"), id="cuda"),
    pytest.param(NativeStylizer, id="native", marks=needs_compiler),
    pytest.param(lambda made: NativeStylizer(made, precision="int16"), id="int16", marks=needs_compiler),
]


@pytest.mark.parametrize("make", ENGINES)
@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("whole_pixels", [0, 10**6])
def test_a_network_with_large_maps_paints_what_it_does_in_float32(make: Any, kind: str, whole_pixels: int) -> None:
    picture = photo(150, 66)
    expected = EagerStylizer(net(*LARGE[kind]))(picture)
    assert np.ptp(expected) > 100
    made = AnySizeStylizer(make(net(*LARGE[kind])), whole_pixels=whole_pixels)(picture)
    assert np.abs(made.astype(int) - expected).max() <= 6  # as of other networks in int16


@pytest.mark.parametrize("make", ENGINES)
def test_the_maps_of_other_networks_are_not_looked_at(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That would take time."""
    stylizer = make(net())

    def is_sure(values: object, sizes: Any) -> None:
        assert (sizes < 60_000).all()

    for place in ("strips.check", "native_layers.check", "native_network.check"):
        monkeypatch.setattr(f"nst_core.inference.{place}", is_sure)
    for whole_pixels in (0, 10**6):
        AnySizeStylizer(stylizer, whole_pixels=whole_pixels)(photo(150, 66))


def test_what_float32_does_not_hold_is_an_error() -> None:
    engine = EagerStylizer(net("down3.conv.weight", 1e38))
    large = LargePicture(engine.config, engine.tensors, photo(150, 66)[0], engine.run_pass)
    with pytest.raises(WeightsError, match="too large"):
        large.picture()


@pytest.mark.parametrize("value", [65504, -65504, np.inf, -np.inf, np.nan])
def test_a_value_at_the_end_of_the_range_is_found(value: float) -> None:
    values = np.random.default_rng(0).normal(0, 100, (20, 3, 10)).astype(np.float16)
    check(values, np.array([1e9]))
    values[13, 1, 4] = value
    with pytest.raises(HalfOverflowError):
        check(values, np.array([10.0, 1e9]))
    with pytest.raises(HalfOverflowError):
        check(values[10:, ::-1], np.array([10.0, np.nan]))
    check(values, np.array([10.0, 20.0]))  # said to be small


@pytest.mark.parametrize("count", [2, 100])
def test_no_value_exceeds_the_largest_of_its_statistics(count: int) -> None:
    values = np.zeros((2, count))
    values[0, 0], values[1] = 1000.0, -np.linspace(1, 3, count)
    sizes = largest(count, values.mean(1), values.var(1))
    assert (sizes * (1 + 1e-12) >= np.abs(values).max(1)).all()
    assert (sizes <= 2 * np.sqrt(count) * np.abs(values).max(1)).all()
