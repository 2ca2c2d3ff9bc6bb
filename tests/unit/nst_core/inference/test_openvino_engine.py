"""Tests of nst_core.inference.openvino_engine."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from nst_core.errors import ConfigError, WeightsError
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.likeness import psnr_db
from nst_core.inference.openvino_compiled import CompiledGraph, precisions
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.openvino_int8 import Calibration
from nst_core.inference.strips import LargePicture, StripSize
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.styles import shipped_styles

#: Multiples of 4, and sizes that are cropped in the first, the second or both upsampled maps.
SIZES = [(64, 64), (66, 64), (65, 64), (67, 70), (63, 101), (16, 17), (62, 58)]


def photo(height: int, width: int) -> Pixels:
    """Return a soft random photo."""
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(height))
    soft = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    pixels: Pixels = (soft * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


@pytest.fixture(scope="module")
def both() -> tuple[EagerStylizer, OpenvinoStylizer]:
    """Return a shipped style, run by the reference and by the engine."""
    weights = shipped_styles()[0].weights()
    return EagerStylizer.load(weights), OpenvinoStylizer.load(weights)


def test_a_flat_photo_stays_flat(both: tuple[EagerStylizer, OpenvinoStylizer]) -> None:
    flat = np.full((1, 40, 52, 3), (200, 30, 77), np.uint8)
    assert np.array_equal(both[1](flat), both[0](flat))
    assert np.ptp(both[1](flat), axis=(0, 1, 2)).max() == 0


def test_a_picture_has_the_same_bytes_each_time_and_in_each_thread(
    both: tuple[EagerStylizer, OpenvinoStylizer],
) -> None:
    batches = [photo(*size) for size in SIZES]
    first = [both[1](batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(both[1], batches))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("width", [1200, 1201])
def test_rounding_errors_do_not_grow_with_the_photo(width: int) -> None:
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(width=8, blocks=1, output="tanh"))
    with torch.no_grad():
        net.head.weight.mul_(10)  # a picture with contrast
    large = photo(1200, width)
    # Sums of all values, one after the other, come to 70 dB; these to 76 with AVX-512 and 81 with AVX2.
    assert psnr_db(OpenvinoStylizer(net)(large), EagerStylizer(net)(large)) > 74


class SlowToSee(OpenvinoStylizer):
    """Takes a moment to see which pass was the last one, so that another thread gets between."""

    @property
    def _last_pass(self) -> CompiledGraph | None:
        time.sleep(0.01)
        return self._kept

    @_last_pass.setter
    def _last_pass(self, graph: CompiledGraph | None) -> None:
        self._kept = graph


def test_a_thread_may_give_back_memory_while_another_one_runs_passes() -> None:
    stylizer = SlowToSee(TransformerNet(TransformerConfig(width=8, blocks=0)).eval())
    picture, done = photo(64, 64)[0], Event()

    def give_back() -> int:
        count = 0
        while not done.is_set():
            stylizer.release()
            count += 1
        return count

    def cut() -> Pixels:
        large = LargePicture(stylizer.config, stylizer.tensors, picture, stylizer.run_pass, size=StripSize(pixels=1))
        return large.picture()

    expected = cut()
    with ThreadPoolExecutor(2) as threads:
        giving = threads.submit(give_back)
        try:
            for _ in range(5):
                np.testing.assert_array_equal(threads.submit(cut).result(), expected)
        finally:
            done.set()
        assert giving.result() > 0


def test_nbytes_counts_each_compiled_graph() -> None:
    stylizer = OpenvinoStylizer(TransformerNet(TransformerConfig(width=8, blocks=1)))
    before = stylizer.nbytes
    stylizer(photo(40, 40))
    assert stylizer.nbytes == before
    stylizer(photo(41, 40))
    assert stylizer.nbytes > before


def test_it_says_engine_and_precision(both: tuple[EagerStylizer, OpenvinoStylizer]) -> None:
    assert both[1].choice == EngineChoice(engine="openvino", precision="fp32")
    assert precisions()[0] == "fp32"


def test_what_it_cannot_run_is_refused(tmp_path: Path) -> None:
    weights = shipped_styles()[0].weights()
    with pytest.raises(ConfigError, match="runs on the CPU, not on cuda"):
        OpenvinoStylizer.load(weights, device="cuda")
    with pytest.raises(ConfigError, match="has the precisions fp32, bf16, int8, not fp16"):
        OpenvinoStylizer.load(weights, precision="fp16")
    with pytest.raises(WeightsError):
        OpenvinoStylizer.load(b"not weights")
    with pytest.raises(WeightsError):
        OpenvinoStylizer.load(tmp_path / "missing.safetensors")


def test_a_precision_that_the_processor_does_not_have_is_not_claimed() -> None:
    stylizer = OpenvinoStylizer(TransformerNet(TransformerConfig(width=8, blocks=1)), precision="bf16")
    assert stylizer.choice.precision in precisions()


def test_pictures_in_int8_are_close_to_the_reference(both: tuple[EagerStylizer, OpenvinoStylizer]) -> None:
    stylizer = OpenvinoStylizer.load(shipped_styles()[0].weights(), precision="int8")
    assert stylizer.choice == EngineChoice(engine="openvino", precision="int8")
    for batch in (photo(160, 200), photo(163, 131)):
        result = stylizer(batch)
        assert 40 < psnr_db(result, both[0](batch)) < 70
        assert np.array_equal(stylizer(batch), result)


@pytest.fixture(scope="module")
def large(both: tuple[EagerStylizer, OpenvinoStylizer]) -> tuple[Pixels, Pixels]:
    """Return a photo of more than a megapixel, and the picture that the reference makes of it."""
    pixels = photo(1008, 1000)
    return pixels, both[0](pixels)


@pytest.mark.parametrize("precision", precisions())
def test_pictures_of_large_photos_are_close_in_every_precision(
    large: tuple[Pixels, Pixels], precision: Precision
) -> None:
    stylizer = OpenvinoStylizer.load(shipped_styles()[0].weights(), precision=precision)
    assert psnr_db(stylizer(large[0]), large[1]) > 40


def test_a_style_that_is_too_far_off_in_int8_runs_in_a_better_precision(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, both: tuple[EagerStylizer, OpenvinoStylizer]
) -> None:
    # With ranges that cut most values off, pictures are wrong.
    real = Calibration.__init__

    def narrow(self: Calibration, *args: Any) -> None:
        real(self, *args)
        self.ranges = {name: (least / 50, largest / 50) for name, (least, largest) in self.ranges.items()}

    monkeypatch.setattr(Calibration, "__init__", narrow)
    stylizer = OpenvinoStylizer.load(shipped_styles()[0].weights(), precision="int8")
    assert stylizer.choice.precision == precisions()[-2]
    assert "a style is not run in int8" in caplog.text
    assert psnr_db(stylizer(photo(64, 64)), both[0](photo(64, 64))) > 40
