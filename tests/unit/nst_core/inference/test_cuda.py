"""Tests of nst_core.inference.cuda on the CPU, where it computes the same numbers; tests.gpu needs a GPU."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError, WeightsError
from nst_core.inference.any_size import AnySizeStylizer
from nst_core.inference.cuda import DTYPES, CudaStylizer, PhotoNorm, probe
from nst_core.inference.cuda_card import Call, Host
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision
from nst_core.nets.transformer import InstanceNorm, TransformerConfig, TransformerNet
from nst_core.nets.weights import dump_transformer
from nst_core.styles import shipped_styles

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SMALL = ((8, 8, 16), (8, 4, 16))
#: Every kind of layer that a network may have.
CONFIGS = [
    TransformerConfig(width=8, blocks=1),
    TransformerConfig(width=8, blocks=1, norm="batch", padding="zero", output="tanh"),
    TransformerConfig(width=8, blocks=1, upsample="transposed", padding="same", crop="start", head_norm=True),
]


def photos(count: int = 1, height: int = 24, width: int = 33, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def weights(config: TransformerConfig = CONFIGS[0]) -> bytes:
    """Return a file of random weights that give a picture with contrast."""
    torch.manual_seed(0)
    net = TransformerNet(config)
    last = net.head_norm if config.head_norm else net.head
    last.get_parameter("weight").data.mul_(1000 if config.norm == "batch" else 10)
    return dump_transformer(net, dtype=torch.float32)


def psnr(result: Pixels, expected: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = float(np.mean((result.astype(float) - expected) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("config", CONFIGS, ids=["instance", "batch", "transposed"])
@pytest.mark.parametrize("precision", DTYPES)
def test_each_precision_matches_the_reference(precision: Precision, config: TransformerConfig) -> None:
    data, batch = weights(config), photos(2)
    expected = EagerStylizer.load(data)(batch)
    stylizer = CudaStylizer.load(data, device="cpu", precision=precision)
    result = stylizer(batch)
    assert stylizer.choice == EngineChoice(engine="cuda", precision=precision)
    assert expected.std() > 5
    if precision == "fp32":
        assert np.abs(result.astype(int) - expected).max() <= 1
    assert psnr(result, expected) >= 40


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_shipped_styles_lose_little_in_a_narrow_precision(precision: Precision) -> None:
    y, x = np.mgrid[:64, :80]
    photo = np.stack([2 * x, 3 * y, 255 * ((x // 16 + y // 16) % 2)], 2).astype(np.uint8)[None]
    for style in shipped_styles():
        data = style.weights()
        result = CudaStylizer.load(data, device="cpu", precision=precision)(photo)
        assert psnr(result, EagerStylizer.load(data)(photo)) >= 45, style.name


def test_narrow_weights_take_half_the_memory() -> None:
    data = weights()
    exact, narrow = (CudaStylizer.load(data, device="cpu", precision=precision) for precision in ("fp32", "bf16"))
    assert exact.nbytes == EagerStylizer.load(data).nbytes
    assert 0.5 < narrow.nbytes / exact.nbytes < 0.6  # the normalisations stay float32


def test_a_photos_result_does_not_depend_on_its_batch() -> None:
    stylizer, batch = CudaStylizer.load(weights(), device="cpu"), photos(3)
    together = stylizer(batch)
    for photo, result in zip(batch, together, strict=True):
        np.testing.assert_array_equal(stylizer(photo[None])[0], result)
    assert stylizer(photos(0)).shape == (0, 24, 33, 3)


def test_threads_can_share_a_stylizer() -> None:
    stylizer = CudaStylizer.load(weights(), device="cpu")
    batches = [photos(1, 20 + number, 30, seed=number) for number in range(8)]
    expected = [stylizer(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for result, alone in zip(pool.map(stylizer, batches), expected, strict=True):
            np.testing.assert_array_equal(result, alone)


def test_wrong_arguments_are_refused() -> None:
    stylizer = CudaStylizer.load(weights(), device="cpu")
    with pytest.raises(ConfigError, match="N x H x W x 3"):
        stylizer(photos()[0])
    with pytest.raises(ImageTooSmallError):
        stylizer(photos(1, 15, 40))
    with pytest.raises(ConfigError, match="The engine cuda has the precisions fp32, fp16, bf16, not int8"):
        CudaStylizer.load(weights(), device="cpu", precision="int8")
    with pytest.raises(WeightsError):
        CudaStylizer.load(b"not weights", device="cpu")


def overflowing() -> bytes:
    """Return weights whose first layer gives values beyond those of float16, which normalisation removes again."""
    torch.manual_seed(0)
    net = TransformerNet(CONFIGS[0])
    net.head.weight.data.mul_(10)
    net.down1.conv.weight.data.mul_(1e5)
    return dump_transformer(net, dtype=torch.float32)


def test_a_style_that_overflows_float16_runs_in_float32_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    data, batch = overflowing(), photos(2)
    stylizer = CudaStylizer.load(data, device="cpu", precision="fp16")
    precisions = [stylizer.choice.precision]
    for _ in range(2):
        assert np.abs(stylizer(batch).astype(int) - EagerStylizer.load(data)(batch)).max() <= 1
        precisions.append(stylizer.choice.precision)
    assert precisions == ["fp16", "fp32", "fp32"]
    assert caplog.text.count("overflows float16") == 1
    assert stylizer.nbytes == EagerStylizer.load(data).nbytes


def test_bfloat16_does_not_overflow() -> None:
    data, batch = overflowing(), photos(2)
    stylizer = CudaStylizer.load(data, device="cpu", precision="bf16")
    assert psnr(stylizer(batch), EagerStylizer.load(data)(batch)) >= 40
    assert stylizer.choice.precision == "bf16"


class TightRunner(Host):
    """Computes like `Host`, but runs out of memory while it has a debt, or with too many photos at the same time."""

    def __init__(self, *, most_lanes: int = 8, room_for: int = 8, debt: int = 0) -> None:
        super().__init__()
        self.most_lanes = most_lanes
        self.room_for, self.debt = room_for, debt
        self.tried: list[int] = []

    def lanes(self, pixels: int) -> int:
        return self.most_lanes

    def run(self, call: Call, photos: Iterable[Pixels], *, key: object, lanes: int) -> Iterator[Pixels]:
        self.tried.append(lanes)
        for number, values in enumerate(super().run(call, photos, key=key, lanes=lanes)):
            if number and (lanes > self.room_for or self.debt):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            yield values

    def release(self) -> None:
        self.debt = 0


def on(runner: TightRunner) -> CudaStylizer:
    stylizer = CudaStylizer.load(weights(), device="cpu")
    stylizer._runner = runner
    return stylizer


def test_freed_memory_may_be_enough() -> None:
    runner, batch = TightRunner(debt=1), photos(3)
    stylizer = on(runner)
    np.testing.assert_array_equal(stylizer(batch), CudaStylizer.load(weights(), device="cpu")(batch))
    assert runner.tried == [8, 8]
    assert stylizer.max_batch == 8


def test_fewer_photos_at_the_same_time_are_remembered() -> None:
    runner, batch = TightRunner(room_for=2), photos(3)
    stylizer = on(runner)
    np.testing.assert_array_equal(stylizer(batch), CudaStylizer.load(weights(), device="cpu")(batch))
    stylizer(batch)
    assert runner.tried == [8, 8, 4, 2, 2]
    assert stylizer.max_batch == 2


def test_a_photo_for_which_there_is_no_memory_is_refused() -> None:
    runner = TightRunner(most_lanes=2, room_for=0)
    with pytest.raises(ImageTooLargeError, match="33 x 24 pixels, for which the GPU has too little memory"):
        on(runner)(photos(2))
    assert runner.tried == [2, 2, 1]
    assert not runner.lock.locked()


@pytest.mark.parametrize("precision", DTYPES)
def test_a_large_photo_in_strips_is_that_of_the_whole(precision: Precision) -> None:
    data, batch = weights(), photos(1, 72, 40)
    expected = EagerStylizer.load(data)(batch)
    result = AnySizeStylizer(CudaStylizer.load(data, device="cpu", precision=precision), whole_pixels=1000)(batch)
    assert psnr(result, expected) >= 40


def test_a_style_that_overflows_float16_in_strips_runs_in_float32() -> None:
    data, batch = overflowing(), photos(1, 72, 40)
    stylizer = AnySizeStylizer(CudaStylizer.load(data, device="cpu", precision="fp16"), whole_pixels=1000)
    assert np.abs(stylizer(batch).astype(int) - EagerStylizer.load(data)(batch)).max() <= 1
    assert stylizer.choice.precision == "fp32"


@pytest.mark.parametrize("failures", [1, 2])
def test_a_strip_without_memory_is_tried_once_more(failures: int) -> None:
    stylizer = CudaStylizer.load(weights(), device="cpu")
    runner = stylizer._runner = TightRunner(debt=1)
    left = failures

    def define(layers: object) -> dict[str, Tensor]:
        nonlocal left
        left -= 1
        if left >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"map": torch.ones(1)}

    if failures == 1:
        assert stylizer.run_pass((), define, {})["map"] == 1
    else:
        with pytest.raises(ImageTooLargeError, match="too little memory for a strip"):
            stylizer.run_pass((), define, {})
    assert runner.debt == 0
    assert not runner.lock.locked()
    stylizer.release()


def test_the_norm_of_a_photo_is_the_instance_norm() -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(8)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x = (3 * torch.randn(1, 8, 9, 7) + 2).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        result = PhotoNorm(norm)(x)
        torch.testing.assert_close(result, norm(x), rtol=1e-5, atol=1e-5)
        assert result.is_contiguous(memory_format=torch.channels_last)
        for dtype in (torch.bfloat16, torch.float16):
            narrow = PhotoNorm(norm)(x.to(dtype))
            assert narrow.dtype == dtype
            torch.testing.assert_close(narrow, norm(x.to(dtype)), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 0.7, -300.0])
def test_a_channel_without_variance_becomes_its_bias(value: float) -> None:
    norm = InstanceNorm(2)
    norm.bias.data = torch.tensor([0.5, -1.0])
    # Rounding errors of a convolution are no variance.
    x = torch.full((1, 2, 8, 8), value) * (1 + 1e-7 * torch.randn(1, 2, 8, 8))
    with torch.inference_mode():
        assert torch.equal(PhotoNorm(norm)(x), norm.bias.view(1, 2, 1, 1).expand_as(x))


def clock_of(costs: dict[torch.dtype, float], monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Return a clock on which a convolution takes the seconds of its type."""
    now = 0.0
    convolve = torch.nn.functional.conv2d

    def timed(x: Tensor, weight: Tensor, *, padding: int) -> Tensor:
        nonlocal now
        now += costs[x.dtype]
        return convolve(x.float(), weight.float(), padding=padding).to(x.dtype)

    monkeypatch.setattr("nst_core.inference.cuda.F.conv2d", timed)
    monkeypatch.setattr("nst_core.inference.cuda.bf16_pays", lambda device: True)
    return lambda: now


@pytest.mark.parametrize(
    ("fp16_s", "bf16_s", "best"),
    [(0.5, 0.5, "fp16"), (0.5, 0.2, "bf16"), (2.0, 0.5, "bf16"), (0.95, 0.95, "fp32"), (2.0, 2.0, "fp32")],
)
def test_the_probe_returns_the_fastest_precision(
    fp16_s: float, bf16_s: float, best: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {torch.float32: 1.0, torch.float16: fp16_s, torch.bfloat16: bf16_s}
    assert probe(CPU, shapes=SMALL, clock=clock_of(costs, monkeypatch)) == best


def test_the_probe_returns_no_precision_with_wrong_results(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_of({torch.float32: 1.0, torch.float16: 0.1, torch.bfloat16: 0.5}, monkeypatch)
    timed = torch.nn.functional.conv2d

    def broken(x: Tensor, weight: Tensor, *, padding: int) -> Tensor:
        return timed(x, weight, padding=padding) * (1.05 if x.dtype == torch.float16 else 1.0)

    monkeypatch.setattr("nst_core.inference.cuda.F.conv2d", broken)
    assert probe(CPU, shapes=SMALL, clock=clock) == "bf16"


def test_the_probe_measures_a_real_device() -> None:
    assert probe(CPU, shapes=SMALL) in DTYPES
