"""Tests of nst_core.inference.side_by_side: which photos are computed two at a time, and what comes of it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.side_by_side import SMALL_PIXELS, is_small, side
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels
from nst_core.nets import native
from nst_core.nets.weights import load_transformer_bytes
from nst_core.styles import shipped_styles
from tests.unit.nst_core.inference.test_openvino_graph import photo
from tests.unit.nst_core.nets.native_kit import needs_compiler

NATIVE = EngineChoice(engine="native", precision="int16")


@pytest.mark.parametrize(
    ("choice", "height", "expected"),
    [(NATIVE, 1024, True), (NATIVE, 1025, False), (EXACT, 16, False)],
)
def test_small_photos_are_those_up_to_a_size_whose_bytes_do_not_depend_on_threads(
    choice: EngineChoice, height: int, expected: bool
) -> None:
    assert SMALL_PIXELS == 1024 * 1024
    picture = np.zeros((height, 1024, 3), np.uint8)
    assert not is_small(picture, choice)  # flat: the reference computes it, on all threads
    picture[0, 0] = 1
    assert is_small(picture, choice) is expected


@needs_compiler
@pytest.mark.parametrize(("threads", "by_side", "expected"), [(4, True, 2), (5, True, 3), (4, False, 4), (1, True, 1)])
def test_two_photos_share_the_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, by_side: bool, expected: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    counts: list[int] = []
    kernels = type("Kernels", (), {"some": lambda *arguments: counts.append(arguments[-1].value)})()
    monkeypatch.setattr(native, "library", lambda: kernels)
    with side(by_side):
        native.call("some")
        with ThreadPoolExecutor(1) as other:  # is not in the block
            other.submit(native.call, "some").result()
    native.call("some")
    assert counts == [expected, threads, threads]


@needs_compiler
def test_photos_at_the_same_time_have_the_bytes_of_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    net = load_transformer_bytes(shipped_styles()[0].weights())
    stylizers = [NativeStylizer(net, precision="int16") for _ in range(3)]
    photos = [photo(96 + 5 * number, 130) for number in range(3)]
    expected = [stylizer(each) for stylizer, each in zip(stylizers, photos, strict=True)]
    together = Barrier(3)

    def painted(number: int) -> list[Pixels]:
        together.wait(30)
        with side(True):
            return [stylizers[number](photos[number]) for _ in range(6)]

    with ThreadPoolExecutor(3) as callers:  # one more than teams of threads, and than workspaces
        for results, one in zip(callers.map(painted, range(3)), expected, strict=True):
            assert all(np.array_equal(result, one) for result in results)
