"""Tests of nst_core.inference.passes: with each engine a pass computes what it computes in PyTorch."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from nst_core.inference.any_size import Engine
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.passes import Up, complete, decoder, encoder, first_half, second_half
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from tests.unit.nst_core.nets.native_kit import needs_compiler

NET = TransformerNet(TransformerConfig(blocks=2)).eval()
REFERENCE = EagerStylizer(NET)
CUT = np.array([[0, 0], [20, 24]], np.int64)


@cache
def engine_of(kind: Callable[[TransformerNet], Engine]) -> Engine:
    """Return an engine, whose passes are compiled once for all tests."""
    return kind(NET)


def inputs(ups: Sequence[Up] = ()) -> dict[str, Any]:
    """Return inputs for all passes: a strip of 40 x 48 pixels at the upper edge of a picture."""
    random, odd_row = np.random.default_rng(0), len(ups) > 1 and ups[1].odd[0]
    values: dict[str, Any] = {name: random.normal(size=(10, 128, 12)).astype(np.float16) for name in ("x", "y")}
    for name, module in NET.named_modules():
        if name.rpartition(".")[2].startswith("norm"):
            channels = module.get_parameter("weight").numel()
            for part in ("scale", "shift"):
                values[f"{name}.{part}"] = random.uniform(0.5, 1.5, (1, channels, 1, 1)).astype(np.float32)
    values["photo"] = random.integers(0, 256, (1, 40, 48, 3), np.uint8)
    values |= {f"down{number}.rows": np.array([4 if number == 1 else 1, 0], np.int64) for number in (1, 2, 3)}
    values |= {"rows": np.array([1, 0], np.int64), "head.rows": np.array([4, odd_row], np.int64)}
    # A row that is cut is not repeated.
    values |= {f"up{number}.rows": np.array([1, 1 - up.odd[0]], np.int64) for number, up in enumerate(ups, 1)}
    values |= {"up1.cut": CUT, "up2.cut": np.array([[0, 0], [40, 48]], np.int64), "size": np.array([36, 47], np.int64)}
    return values


@pytest.mark.parametrize("kind", [OpenvinoStylizer, pytest.param(NativeStylizer, marks=needs_compiler)])
@pytest.mark.parametrize(
    "define",
    [
        *(partial(encoder, depth=depth) for depth in (1, 2, 3)),
        partial(complete, block=0),
        partial(complete, block=1),
        partial(first_half, block=0),
        partial(first_half, block=1),
        partial(second_half, block=0),
        partial(decoder, depth=1, ups=[Up(odd=(False, False), cut=False)]),
        partial(decoder, depth=1, ups=[Up(odd=(False, False), cut=False)], encoded=True),
        partial(decoder, depth=2, ups=[Up(odd=(False, True), cut=False), Up(odd=(False, False), cut=False)]),
        partial(
            decoder, depth=3, ups=[Up(odd=(False, False), cut=True), Up(odd=(True, True), cut=True)], encoded=False
        ),
    ],
)
def test_engines_agree_with_the_reference(define: partial[dict[str, Any]], kind: Any) -> None:
    given = inputs(define.keywords.get("ups", ()))
    own_order = given | {name: by_pixel(given[name]) for name in ("x", "y")}
    expected = dict(REFERENCE.run_pass((str(define),), define, own_order))
    actual = dict(engine_of(kind).run_pass((str(define),), define, given if kind is OpenvinoStylizer else own_order))
    assert expected.keys() == actual.keys()
    for name in {"map", "completed"} & expected.keys():
        expected[name] = by_channel(expected[name])
        if kind is not OpenvinoStylizer:
            actual[name] = by_channel(actual[name])
    for name, values in expected.items():
        assert values.shape == actual[name].shape
        assert float(np.std(values.astype(np.float32))) > 0
        np.testing.assert_allclose(actual[name].astype(np.float32), values.astype(np.float32), rtol=2e-3, atol=2e-3)


def by_pixel(rows: Any) -> Any:
    """Return a stored map, H x C x W, with the values of each row in the order of `TorchLayers`: all of a pixel."""
    return np.ascontiguousarray(rows.transpose(0, 2, 1)).reshape(rows.shape)


def by_channel(rows: Any) -> Any:
    """Return what `by_pixel` was made of."""
    height, channels, width = rows.shape
    return rows.reshape(height, width, channels).transpose(0, 2, 1)
