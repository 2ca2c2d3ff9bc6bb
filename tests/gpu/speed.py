"""Images per second, in each precision and beside plain PyTorch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from nst_core.inference.cuda import DTYPES, CudaStylizer
from nst_core.inference.stylizer import Pixels
from nst_core.nets.families import without_palettes
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.system.devices import bf16_pays, exact_float32
from tests.benchmarks.plain_net import PlainNet
from tests.gpu.ground import LEAST_DB, Ground, expect, photos, psnr_db

_SIDES, _QUICK_SIDES = (256, 512, 1024), (32,)
#: Pixels of a batch.
_BATCH_PIXELS, _QUICK_BATCH_PIXELS = 8 * 2**20, 2 * 2**10


class Plain:
    """The loop of pytorch/examples: float32, torch's usual memory format, one photo after the other."""

    def __init__(self, net: TransformerNet, device: torch.device) -> None:
        self._device = device
        self._net = PlainNet()
        self._net.take(net)
        self._net.to(device).eval()

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos."""
        results = []
        for photo in batch:
            x = torch.from_numpy(photo).permute(2, 0, 1).contiguous().float().div(255)[None].to(self._device)
            with torch.no_grad():
                y = self._net(x).cpu()
            results.append((y[0].clamp(0, 1).numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8))
        return np.stack(results)


@contextmanager
def _usual_float32() -> Iterator[None]:
    """Let convolutions of float32 round to TF32, as torch does unless it is told otherwise."""
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        exact_float32()


def images_per_second(ground: Ground) -> str:
    """Pictures of plain PyTorch are ours, and the rates of both are in a table."""
    net = without_palettes(load_transformer_bytes(ground.styles()[0].weights()))  # plain networks know of none
    plain, weights = Plain(net, ground.device), dump_transformer(net, dtype=torch.float32)
    precisions = [each for each in DTYPES if each != "bf16" or not ground.on_gpu or bf16_pays(ground.device)]
    ours = {each: CudaStylizer.load(weights, device=ground.device, precision=each) for each in precisions}
    rows = [("", *(f"{side} x {side}" for side in _sides(ground)))]
    rates: dict[str, list[float]] = {}
    for side in _sides(ground):
        count = max(2, (_QUICK_BATCH_PIXELS if ground.quick else _BATCH_PIXELS) // side**2)
        batch = photos(min(count, 64), side, side)
        with _usual_float32():
            db = psnr_db(plain(batch), ours["fp32"](batch))
            expect(db >= LEAST_DB, f"plain PyTorch is {db:.1f} dB away at {side} px")
            rates.setdefault("plain PyTorch, TF32", []).append(_rate(ground, plain, batch))
        rates.setdefault("plain PyTorch, float32", []).append(_rate(ground, plain, batch))
        for precision, stylizer in ours.items():
            rates.setdefault(f"cuda in {precision}, a photo a call", []).append(_rate(ground, _singly(stylizer), batch))
            rates.setdefault(f"cuda in {precision}, batches of {len(batch)}", []).append(_rate(ground, stylizer, batch))
    base = rates["plain PyTorch, TF32"]
    for name, values in rates.items():
        cells = [f"{rate:.1f} ({rate / other:.1f} x)" for rate, other in zip(values, base, strict=False)]
        rows.append((name, *cells))
    ground.notes.append(_table(rows))
    return "images per second are below"


def _sides(ground: Ground) -> tuple[int, ...]:
    return _QUICK_SIDES if ground.quick else _SIDES


def _singly(stylizer: CudaStylizer) -> Callable[[Pixels], object]:
    return lambda batch: [stylizer(photo[None]) for photo in batch]


def _rate(ground: Ground, call: Callable[[Pixels], object], batch: Pixels) -> float:
    """Return the images per second of a call, after some that prepare it; results are on the host at its end."""
    for _ in range(ground.pick(3, 1)):
        call(batch)
    done, started = 0, time.perf_counter()
    seconds = 0.01 if ground.quick else 1.5
    while (elapsed := time.perf_counter() - started) < seconds:
        call(batch)
        done += len(batch)
    return done / elapsed


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
