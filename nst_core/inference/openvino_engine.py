"""The fast engine of CPUs: a transformer network as a graph of OpenVINO."""

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from nst_core.errors import ConfigError
from nst_core.inference.eager import EagerStylizer, network_of
from nst_core.inference.likeness import psnr_db
from nst_core.inference.openvino_compiled import CompiledGraph
from nst_core.inference.openvino_graph import EVEN, Floats, Graph, OddSizes, Range, odd_sizes, whole
from nst_core.inference.openvino_int8 import Calibration, leaves
from nst_core.inference.strips import Define, StripSize
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision, check_call, is_flat
from nst_core.nets.costs import max_pixels
from nst_core.nets.families import Style
from nst_core.nets.palettes import Palette
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerNet

_log = logging.getLogger(__name__)
_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
#: How close a style's pictures in int8 must be to those in float32, before palettes. Those of shipped styles have 42 to
#: 50 dB.
_LEAST_PSNR_DB = 36.0
#: Memory of activations that a graph keeps for the next photo.
_KEPT_PIXELS = 2_000_000
#: Photos of more pixels have another graph, which takes no longer for them.
_LARGE_PIXELS = 1_000_000


class OpenvinoStylizer:
    """A `Stylizer` that computes a transformer network with OpenVINO on the CPU, one photo at a time."""

    min_side_px = MIN_SIDE_PX
    strip_size = StripSize()
    #: One photo keeps every core busy.
    max_batch = 1

    def __init__(self, net: TransformerNet, *, precision: Precision = "fp32") -> None:
        """Take over a network; raise ConfigError if OpenVINO is not installed or has no such precision.

        If the pictures of a network are too far off in int8, it runs in the next better precision.
        """
        if precision not in _PRECISIONS:
            raise ConfigError(f"The engine openvino has the precisions {', '.join(_PRECISIONS)}, not {precision}.")
        self._precision = precision
        self._reference = EagerStylizer(net)
        self.config = net.config
        self._palette = Palette.of(net)
        self.tensors: dict[str, Floats] = {name: value.float().numpy() for name, value in net.state_dict().items()}
        self._graphs: dict[tuple[OddSizes, bool], CompiledGraph] = {}
        self._passes: dict[tuple[Any, ...], CompiledGraph] = {}
        self._last_pass: CompiledGraph | None = None
        self._lock = Lock()
        self._ranges = self._checked_ranges() if precision == "int8" else None
        first = self._graph(EVEN)  # compiled now, since a load may take its time
        self.choice = EngineChoice(engine="openvino", precision="int8" if self._ranges else first.precision)
        # In bfloat16, which some layers have in int8 too, all sums but those of OpenVINO's own normalisation would be
        # rounded.
        self._rounds_sums = first.precision == "bf16"

    @classmethod
    def load(
        cls,
        source: Path | bytes,
        *,
        style: Style = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> "OpenvinoStylizer":
        """Return the stylizer of a style of a weights file, or of the bytes of one; raise as `load_transformer`."""
        if torch.device(device).type != "cpu":
            raise ConfigError(f"The engine openvino runs on the CPU, not on {device}.")
        return cls(network_of(source, style), precision=precision)

    @property
    def nbytes(self) -> int:
        """The memory that the weights take, in bytes: those of the reference, and those of each compiled graph.

        The passes over large photos have the weights of the encoder and the decoder three times, the others once.
        """
        return self._reference.nbytes * (1 + len(self._graphs) + (2 if self._passes else 0))

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have; see `Stylizer.max_pixels`."""
        return max_pixels(self.config, budget_bytes)

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`."""
        check_call(batch, min_side_px=self.min_side_px)
        results = np.empty_like(batch, order="C")
        for photo, result in zip(batch, results, strict=True):
            result[:] = self._one(photo)
        return results

    def _one(self, photo: Pixels) -> Pixels:
        if is_flat(photo):
            picture: Pixels = self._reference(photo[None])[0]
            return picture
        height, width = photo.shape[:2]
        large = height * width > _LARGE_PIXELS and not self._rounds_sums
        graph = self._graph(odd_sizes(self.config, height, width), large=large)
        picture = self._finished(graph({"photo": np.ascontiguousarray(photo[None])})["picture"])[0]
        if height * width > _KEPT_PIXELS:
            graph.release()
        return picture

    def run_pass(
        self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]
    ) -> Mapping[str, np.ndarray[Any, Any]]:
        """Run a pass on a strip; see `strips.Run`."""
        graph = self._graph_of_pass(key, define)
        outputs = graph({name: inputs[name] for name in graph.inputs})
        return outputs | {name: self._finished(outputs[name]) for name in outputs if name == "picture"}

    def _graph_of_pass(self, key: tuple[Any, ...], define: Define) -> CompiledGraph:
        """Return the graph of a pass, and give back the memory of the last one, if it was another."""
        with self._lock:
            if key not in self._passes:
                layers = Graph(self.config, self.tensors, self._ranges)
                self._passes[key] = CompiledGraph(layers.model(define(layers)), self._precision)
            graph = self._passes[key]
            if graph is not self._last_pass and self._last_pass is not None:
                self._last_pass.release()
            self._last_pass = graph
            return graph

    def _finished(self, picture: np.ndarray[Any, Any]) -> Pixels:
        """Return the picture that a graph made, 1 x H x W x 3, as bytes in the colours of the palette."""
        if self._palette is None:
            return picture
        pixels: Pixels = self._palette.by_kernel(torch.from_numpy(picture[0])).numpy()[None]
        return pixels

    def release(self) -> None:
        """Give back the memory of the last pass."""
        with self._lock:
            if self._last_pass is not None:
                self._last_pass.release()
                self._last_pass = None

    def _graph(self, odd: OddSizes, *, large: bool = False) -> CompiledGraph:
        """Return the graph for photos of a kind; see `openvino_graph.whole`."""
        with self._lock:
            if (odd, large) not in self._graphs:
                layers = Graph(self.config, self.tensors, self._ranges)
                model = layers.model(whole(layers, odd=odd, large=large))
                self._graphs[odd, large] = CompiledGraph(model, self._precision)
            return self._graphs[odd, large]

    def _checked_ranges(self) -> Mapping[str, Range] | None:
        """Return the ranges of the network's values, or None if its pictures in int8 are too far off."""
        calibration = Calibration(self.config, self.tensors)
        layers = Graph(self.config, self.tensors, calibration.ranges)
        graph = CompiledGraph(layers.model(whole(layers, odd=EVEN)), self._precision)
        pictures = [graph({"photo": photo})["picture"] for photo in leaves()]
        least_db = min(map(psnr_db, pictures, calibration.pictures))
        if least_db >= _LEAST_PSNR_DB:
            self._graphs[EVEN, False] = graph
            return calibration.ranges
        _log.warning("a style is not run in int8: its pictures come to %.0f dB only", least_db)
        return None
