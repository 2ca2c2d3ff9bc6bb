"""The engine for CUDA devices: narrow convolutions, fewer passes over memory, and photos that overlap."""

import logging
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.clock import Clock
from nst_core.errors import ConfigError, ImageTooLargeError
from nst_core.inference.cuda_card import runner_of
from nst_core.inference.eager import EagerStylizer, network_of, placed, too_large
from nst_core.inference.strips import Define
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision, check_call
from nst_core.nets.families import Style
from nst_core.nets.palettes import finished
from nst_core.nets.tensors import from_uint8
from nst_core.nets.transformer import ROUNDING, InstanceNorm, TransformerNet
from nst_core.system.devices import bf16_pays, on_device, repeatable

_log = logging.getLogger(__name__)

#: The types of the convolutions, the most exact first.
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

#: What `probe` measures: convolutions of the usual network for a photo of 512 x 512 pixels.
PROBED = ((128, 128, 128), (64, 32, 512))
_PROBE_RUNS = 5
#: The largest error of a right result, as a share of its length. Rounding to bfloat16 alone makes about 0.003.
_PROBE_ERROR = 0.02
#: A narrower type must be this many times as fast to be worth its rounding.
_PROBE_GAIN = 1.1


class CudaStylizer(EagerStylizer):
    """A `Stylizer` that computes what the reference does, arranged for a GPU.

    Convolutions have the type of the precision; statistics and the picture itself are float32. `Card` says how photos
    of a batch overlap. Each one is computed alone, so that a photo's result depends neither on the others nor on how
    many there are. On other devices the engine computes the same, one photo after the other.
    """

    def __init__(
        self, net: TransformerNet, *, device: torch.device | str = "cuda", precision: Precision = "fp32"
    ) -> None:
        """Take over a network; raise ConfigError for a precision that the engine does not have."""
        if precision not in DTYPES:
            raise ConfigError(f"The engine cuda has the precisions {', '.join(DTYPES)}, not {precision}.")
        #: What replaces the network when its values overflow float16.
        self._exact = deepcopy(net) if precision == "fp16" else None
        super().__init__(_arranged(net, DTYPES[precision]), device=device)
        self.choice = EngineChoice(engine="cuda", precision=precision)
        self._runner = runner_of(self.device)

    @classmethod
    def load(
        cls,
        source: Path | bytes,
        *,
        style: Style = 0,
        device: torch.device | str = "cuda",
        precision: Precision = "fp32",
    ) -> "CudaStylizer":
        """Return the stylizer of a style of a weights file, or of the bytes of one; raise as `load_transformer`."""
        return cls(network_of(source, style), device=device, precision=precision)

    @property
    def max_batch(self) -> int:
        """The most small photos at the same time. It shrinks, for all styles, when the card runs out of memory."""
        return self._runner.most_lanes

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`. Threads take turns."""
        check_call(batch, min_side_px=self.min_side_px)
        results = np.empty_like(batch, order="C")
        with self._runner.lock, torch.inference_mode(), on_device(self.device), repeatable():
            finite = self._fill(results, batch)
            if not finite and self._widen():
                self._fill(results, batch)
        return results

    def run_pass(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a pass of a large picture on one strip; see `strips.Run`. Threads take turns."""
        with self._runner.lock, repeatable():
            outputs = self._strip(key, define, inputs)
            if not np.isfinite(outputs.get("variance", 0.0)).all() and self._widen():
                outputs = self._strip(key, define, inputs)
            return outputs

    def release(self) -> None:
        """Free the memory that the last pass needed, if it is much."""
        with self._runner.lock:
            self._runner.trim()

    def _strip(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the outputs of a pass. If memory is short, try once more with what is kept freed."""
        try:
            return super().run_pass(key, define, inputs)
        except torch.OutOfMemoryError:
            pass  # retried outside of the handler, because the traceback holds the tensors of the first try
        self._runner.release()
        try:
            return super().run_pass(key, define, inputs)
        except torch.OutOfMemoryError as error:
            raise ImageTooLargeError("The GPU has too little memory for a strip of the image.") from error

    def _widen(self) -> bool:
        """Let the style run in float32 from now on, because it overflows float16; return whether that is a change."""
        if self._exact is None:
            return False
        _log.warning("a style overflows float16; it runs in float32 from now on")
        self.net = placed(_arranged(self._exact, torch.float32), self.device)
        self.choice, self._exact = EngineChoice(engine="cuda", precision="fp32"), None
        return True

    def _fill(self, results: Pixels, batch: Pixels) -> bool:
        """Write the results, and return whether the network's values were finite.

        If memory is short, try once more with what is kept freed, then with fewer photos at the same time. Raises
        ImageTooLargeError if there is not enough for one.
        """
        height, width = batch.shape[1:3]
        spared = False
        while True:
            lanes = self._runner.lanes(height * width)
            try:
                return self._run(results, batch, lanes=lanes)
            except torch.OutOfMemoryError as error:
                problem = error.with_traceback(None)  # which holds the tensors of this try
            self._runner.release()
            if spared and lanes == 1:
                raise too_large(batch[0]) from problem
            if spared:
                self._runner.most_lanes = lanes // 2
            spared = True

    def _run(self, results: Pixels, batch: Pixels, *, lanes: int) -> bool:
        finite = True
        made = self._runner.run(self._values, batch, key=self.net, lanes=lanes)
        for result, values in zip(results, made, strict=True):
            result[:] = values[:-1].reshape(result.shape)
            finite &= bool(values[-1])
        return finite

    def _values(self, pixels: Tensor) -> Tensor:
        """Return the values of an H x W x 3 photo's result, and 1 if the network's values were finite, else 0."""
        stylized = self.net(from_uint8(pixels))
        finite = stylized.isfinite().all().to(torch.uint8)
        return torch.cat([finished(stylized, self._palette).flatten(), finite[None]])


class PhotoNorm(nn.Module):
    """`InstanceNorm` for one photo, with the kernels of batch normalisation, which are the same sums for a batch of 1.

    They read the photo twice and write it once, in its own type; step by step it is read and written eight times, in
    float32. The statistics are float32 too.
    """

    def __init__(self, norm: InstanceNorm) -> None:
        """Take over the parameters."""
        super().__init__()
        self.eps, self.weight, self.bias = norm.eps, norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:  # 1, C, H, W
        x = x.contiguous(memory_format=torch.channels_last)  # only cropped maps are not
        # A processor, unlike a GPU, would return sums in the type of its input.
        mean, variance = torch.batch_norm_update_stats(x if x.is_cuda else x.float(), None, None, 0.0)
        weight = self.weight * (variance > ROUNDING * mean.square())
        return torch.native_batch_norm(x, weight, self.bias, mean, variance, False, 0.0, self.eps)[0]


def _arranged(net: TransformerNet, dtype: torch.dtype) -> TransformerNet:
    """Change a network so that it takes one photo, and its convolutions compute in a type; return it."""
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, InstanceNorm):
                setattr(parent, name, PhotoNorm(layer))
            elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.to(dtype)
    if dtype != torch.float32:
        net.down1.register_forward_pre_hook(lambda layer, inputs: (inputs[0].to(dtype),))
        net.head.register_forward_hook(lambda layer, inputs, result: result.float())
    return net


def probe(
    device: torch.device, *, shapes: Sequence[tuple[int, int, int]] = PROBED, clock: Clock = time.perf_counter
) -> Precision:
    """Return the precision in which convolutions are fastest on a device, among those whose results are right.

    It measures 3 x 3 convolutions of some shapes (channels in, channels out, side), after a first run of each that
    prepares the device. A narrower type is chosen only if it is clearly faster.
    """
    random = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, c_in, side, side, generator=random) for c_in, _, side in shapes]
    weights = [torch.randn(c_out, c_in, 3, 3, generator=random) / (3 * c_in**0.5) for c_in, c_out, _ in shapes]
    best: Precision = "fp32"
    with torch.inference_mode(), on_device(device):
        for precision, dtype in DTYPES.items():
            if precision == "bf16" and not bf16_pays(device):
                continue  # it would be emulated, and take long to measure
            pairs = [
                (_as(x, device, dtype), _as(weight, device, dtype)) for x, weight in zip(inputs, weights, strict=True)
            ]
            results = [F.conv2d(x, weight, padding=1).float() for x, weight in pairs]
            seconds = min(_seconds(pairs, device, clock) for _ in range(_PROBE_RUNS))
            if precision == "fp32":
                exact, fastest_s = results, seconds
            elif _right(results, exact) and _PROBE_GAIN * seconds < fastest_s:
                best, fastest_s = precision, seconds
    return best


def _as(x: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last)


def _seconds(pairs: list[tuple[Tensor, Tensor]], device: torch.device, clock: Clock) -> float:
    """Return how long convolutions of inputs with weights take."""
    _finish(device)
    started = clock()
    for x, weight in pairs:
        F.conv2d(x, weight, padding=1)
    _finish(device)
    return clock() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _right(results: list[Tensor], exact: list[Tensor]) -> bool:
    pairs = zip(results, exact, strict=True)
    return all(bool((result - right).norm() <= _PROBE_ERROR * right.norm()) for result, right in pairs)
