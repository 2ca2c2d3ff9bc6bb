"""The engines that `tests.benchmarks.engines` compares: ours, and what a user would run without nst.

A plain engine runs `PlainNet`, Johnson's network as pytorch/examples' fast_neural_style has it (nn.ReflectionPad2d,
nn.InstanceNorm2d, nearest upsampling, contiguous float32 tensors, one photo at a time), with the weights of a shipped
style: as it is, through OpenVINO's converter, or through torch.compile. From bytes to bytes, as our engines.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nst_core.inference.engines import load_stylizer
from nst_core.inference.native_engine import PRECISIONS
from nst_core.inference.openvino_compiled import core, precisions
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision
from nst_core.nets import native
from nst_core.nets.weights import load_transformer_bytes
from tests.benchmarks.engine_process import EAGER, OURS, Kind
from tests.benchmarks.plain_net import PlainNet

#: OpenVINO's names of precisions. It has no int8 without a quantised network.
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


def kinds(*, compiled: bool) -> list[Kind]:
    """Return the kinds of engines that this machine has; the reference and plain PyTorch are the first two."""
    ours = precisions()
    result = [OURS, EAGER]
    if compiled:
        result.append(Kind(name="plain torch.compile", precision="fp32"))
    result += [Kind(name="plain OpenVINO", precision=precision) for precision in ours if precision in _HINTS]
    result += [Kind(name="openvino", precision=precision) for precision in ours]
    own = PRECISIONS if native.library() is not None else ()
    return result + [Kind(name="native", precision=precision) for precision in own]


def load(kind: Kind, weights: bytes) -> Callable[[Pixels], Pixels]:
    """Return a function from an H x W x 3 photo to the stylized one."""
    if not kind.plain:
        stylizer = load_stylizer(weights, choice=EngineChoice(engine=kind.name, precision=kind.precision))
        return lambda photo: stylizer(photo[None])[0]
    net = PlainNet()
    net.take(load_transformer_bytes(weights))
    net.eval()
    if kind.name == "plain OpenVINO":
        return _through(_plain_openvino(net, kind.precision))
    if kind.name == "plain torch.compile":
        torch._inductor.config.freezing = True
        return _through(torch.compile(net))
    return _through(net)


def _through(net: Callable[[Tensor], Tensor]) -> Callable[[Pixels], Pixels]:
    """Return the usual way to a network and back."""

    def stylize(photo: Pixels) -> Pixels:
        x = torch.from_numpy(photo).permute(2, 0, 1).contiguous().float().div(255)[None]
        with torch.no_grad():
            y = net(x)
        picture: Pixels = (y[0].clamp(0, 1).numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        return picture[: photo.shape[0], : photo.shape[1]]  # sides were rounded up to multiples of 4

    return stylize


def openvino_options(precision: Precision) -> dict[str, Any]:
    """Return options of OpenVINO for one photo at a time, with the threads of PyTorch, not pinned to cores."""
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precisions()[-2] if precision == "int8" else precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }


def _plain_openvino(net: nn.Module, precision: Precision) -> Callable[[Tensor], Tensor]:
    """Return what OpenVINO's converter makes of a module, for photos of any size."""
    core()  # before its converter is imported, which then works without the package's telemetry
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    from openvino.tools.ovc import convert_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses a deprecated part of torch
        model = convert_model(net, example_input=torch.rand(1, 3, 64, 64))
    compiled = core().compile_model(model, "CPU", openvino_options(precision))
    return lambda x: torch.from_numpy(compiled(x.numpy())[0])
