"""Compiled graphs of OpenVINO on the CPU."""

from collections.abc import Mapping
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch

from nst_core.errors import ConfigError
from nst_core.inference.openvino_runtime import runtime
from nst_core.inference.stylizer import Precision

#: The types of OpenVINO for the numbers in convolutions. Not more than a hint: a processor that cannot use it
#: computes in float32, and `precision_of` tells.
_TYPES: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
#: Kernels that stay compiled, for each graph; each is for one layer and one size of picture.
_KERNELS_KEPT = 128


@cache
def core() -> Any:
    """Return OpenVINO's devices; raise ConfigError if it is not installed."""
    return runtime().Core()


def precisions() -> list[Precision]:
    """Return the precisions that OpenVINO has on this processor, the best first; none if it is not installed."""
    try:
        abilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ConfigError:
        return []
    return ["fp32", "bf16", "int8"] if "BF16" in abilities else ["fp32", "int8"]


class CompiledGraph:
    """A compiled graph. Safe to call from several threads, which then wait for each other."""

    def __init__(self, model: Any, precision: Precision) -> None:
        """Compile a model of OpenVINO; it uses as many threads as torch does.

        In int8 those layers compute with integers that the model says; the others use the fastest other precision.
        """
        if precision == "int8":
            precision = precisions()[-2]
        options = {
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # The threads of every process would be pinned to the same cores, also if several workers share a machine.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core().compile_model(model, "CPU", options)
        self._request: Any = None
        self._lock = Lock()

    @property
    def precision(self) -> Precision:
        """The precision in which the graph really runs."""
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return next(precision for precision, name in _TYPES.items() if name == used)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by their names."""
        with self._lock:
            if self._request is None:
                self._request = self._compiled.create_infer_request()
            outputs = self._request.infer(dict(inputs), share_inputs=True)
            return {next(iter(output.names)): np.array(values) for output, values in outputs.items()}

    @property
    def inputs(self) -> set[str]:
        """The names of the inputs."""
        return {next(iter(entry.names)) for entry in self._compiled.inputs}

    def release(self) -> None:
        """Give back the memory of activations and outputs."""
        with self._lock:
            self._request = None
            self._compiled.release_memory()
