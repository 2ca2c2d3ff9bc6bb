"""The fast engine of CPUs: a transformer network as a graph of OpenVINO."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from nst_core.errors import ConfigError
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.openvino_graph import Floats, Graph, odd_sizes, whole
from nst_core.inference.openvino_runtime import runtime
from nst_core.inference.strips import Define
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision, check_call
from nst_core.nets.costs import max_pixels
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerNet
from nst_core.nets.weights import load_transformer, load_transformer_bytes

#: The types of OpenVINO for the numbers in convolutions. Not more than a hint: a processor that cannot use it
#: computes in float32, and `precision_of` tells.
_TYPES: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}
#: Kernels that stay compiled, for each graph; each is for one layer and one size of picture.
_KERNELS_KEPT = 128
#: Memory of activations that a graph keeps for the next photo.
_KEPT_PIXELS = 2_000_000


@cache
def core() -> Any:
    """Return OpenVINO's devices; raise ConfigError if it is not installed."""
    return runtime().Core()


def precisions() -> list[Precision]:
    """Return the precisions that OpenVINO has on this processor; none if it is not installed."""
    try:
        abilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ConfigError:
        return []
    return ["fp32", "bf16"] if "BF16" in abilities else ["fp32"]


class CompiledGraph:
    """A compiled graph. Safe to call from several threads, which then wait for each other."""

    def __init__(self, model: Any, precision: Precision) -> None:
        """Compile a model of OpenVINO; it uses as many threads as torch does."""
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


class OpenvinoStylizer:
    """A `Stylizer` that computes a transformer network with OpenVINO on the CPU, one photo at a time."""

    min_side_px = MIN_SIDE_PX
    #: One photo keeps every core busy.
    max_batch = 1

    def __init__(self, net: TransformerNet, *, precision: Precision = "fp32") -> None:
        """Take over a network; raise ConfigError if OpenVINO is not installed or has no such precision."""
        if precision not in _TYPES:
            raise ConfigError(f"The engine openvino has the precisions {', '.join(_TYPES)}, not {precision}.")
        self._precision = precision
        self._reference = EagerStylizer(net)
        self.config = net.config
        self.tensors: dict[str, Floats] = {name: value.float().numpy() for name, value in net.state_dict().items()}
        self._graphs: dict[tuple[bool, ...], CompiledGraph] = {}
        self._passes: dict[tuple[Any, ...], CompiledGraph] = {}
        self._last_pass: CompiledGraph | None = None
        self._lock = Lock()
        first = self._graph(*odd_sizes(net.config, 64, 64), False)  # compiled now, since a load may take its time
        self.choice = EngineChoice(engine="openvino", precision=first.precision)

    @classmethod
    def load(
        cls, source: Path | bytes, *, device: torch.device | str = "cpu", precision: Precision = "fp32"
    ) -> "OpenvinoStylizer":
        """Return the stylizer of a weights file, or of the bytes of one; raise WeightsError if it is damaged."""
        if torch.device(device).type != "cpu":
            raise ConfigError(f"The engine openvino runs on the CPU, not on {device}.")
        net = load_transformer_bytes(source) if isinstance(source, bytes) else load_transformer(source)
        return cls(net, precision=precision)

    @property
    def nbytes(self) -> int:
        """The memory that the weights take, in bytes: those of the reference, and those of each compiled graph.

        The passes over large photos have the weights of the encoder and the decoder three times, the others once.
        """
        return self._reference.nbytes * (1 + len(self._graphs) + (2 if self._passes else 0))

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have; see `Stylizer.max_pixels`."""
        return max_pixels(self.config, budget_bytes)

    def __call__(self, batch: Pixels, *, strength: float = 1.0, preserve_color: bool = False) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`."""
        check_call(batch, strength=strength, min_side_px=self.min_side_px)
        if strength == 0.0:
            return batch.copy()
        results = np.empty_like(batch, order="C")
        for photo, result in zip(batch, results, strict=True):
            result[:] = self._one(photo, strength=strength, preserve_color=preserve_color)
        return results

    def _one(self, photo: Pixels, *, strength: float, preserve_color: bool) -> Pixels:
        if _is_flat(photo):
            # Its maps have no variance, and normalisation would multiply their rounding errors.
            picture: Pixels = self._reference(photo[None], strength=strength, preserve_color=preserve_color)[0]
            return picture
        height, width = photo.shape[:2]
        blend = strength != 1.0 or preserve_color
        graph = self._graph(*odd_sizes(self.config, height, width), blend)
        inputs: dict[str, Any] = {"photo": np.ascontiguousarray(photo[None])}
        if blend:
            inputs |= {"strength": np.float32(strength), "keep_color": np.float32(preserve_color)}
        picture = graph(inputs)["picture"][0]
        if height * width > _KEPT_PIXELS:
            graph.release()
        return picture

    def run_pass(
        self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]
    ) -> Mapping[str, np.ndarray[Any, Any]]:
        """Run a pass on a strip; see `strips.Run`."""
        if key not in self._passes:
            layers = Graph(self.config, self.tensors)
            self._passes[key] = CompiledGraph(layers.model(define(layers)), self._precision)
        graph = self._passes[key]
        if graph is not self._last_pass and self._last_pass is not None:
            self._last_pass.release()
        self._last_pass = graph
        return graph({name: inputs[name] for name in graph.inputs})

    def release(self) -> None:
        """Give back the memory of the last pass."""
        if self._last_pass is not None:
            self._last_pass.release()
            self._last_pass = None

    def _graph(self, first: bool, second: bool, blend: bool) -> CompiledGraph:
        """Return the graph for photos of a kind; see `openvino_graph.whole`."""
        kind = (first, second, blend)
        with self._lock:
            if kind not in self._graphs:
                model = whole(self.config, self.tensors, odd=(first, second), blend=blend)
                self._graphs[kind] = CompiledGraph(model, self._precision)
            return self._graphs[kind]


def _is_flat(photo: Pixels) -> bool:
    """Return whether all pixels of a photo are equal."""
    return bool((photo == photo[:1, :1]).all())
