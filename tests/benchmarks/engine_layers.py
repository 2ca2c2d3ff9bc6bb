"""Where our engines of CPUs spend their time, layer by layer."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from torch import Tensor

from nst_core.inference.native_engine import PRECISIONS, NativeStylizer
from nst_core.inference.native_kernels import Kernels, Map, Norm
from nst_core.inference.native_network import NativeNetwork, Workspaces
from nst_core.inference.openvino_compiled import core, precisions
from nst_core.inference.openvino_graph import Graph, odd_sizes, whole
from nst_core.inference.openvino_int8 import Calibration
from nst_core.inference.stylizer import Pixels, Precision, Stylizer
from nst_core.nets import native
from nst_core.nets.weights import load_transformer_bytes
from tests.benchmarks.engine_kinds import openvino_options

#: What a type of OpenVINO's nodes is part of.
_PARTS = {
    "Convolution": "convolution",
    "ConvolutionBackpropData": "convolution",
    "MVN": "normalisation",
    "Pad": "padding",
}
_COLUMNS = ("convolution", "normalisation", "padding", "rest")


def print_layers(weights: bytes, photo: Pixels, *, rounds: int) -> None:
    """Print a table for each precision: means of the milliseconds of each layer, for one H x W x 3 photo."""
    net = load_transformer_bytes(weights)
    names = _names(net.config.blocks)
    tensors = {name: value.float().numpy() for name, value in net.state_dict().items()}
    for precision in precisions():
        graph = Graph(net.config, tensors, Calibration(net.config, tensors).ranges if precision == "int8" else None)
        model = graph.model(whole(graph, odd=odd_sizes(net.config, *photo.shape[:2])))
        print(f"\nopenvino in {precision}, {photo.shape[1]} x {photo.shape[0]}, ms\n")
        _print_table(names, _profile(model, precision, photo, rounds=rounds))


def print_native_layers(weights: bytes, photo: Pixels, *, rounds: int) -> None:
    """Print medians of the milliseconds that our kernels take for each layer, and for all of a H x W x 3 photo.

    A kernel also normalises what it reads, and adds up the statistics of what it makes. In the columns of bare
    convolutions it does neither, and maps are floats from the first one on.
    """
    net = load_transformer_bytes(weights)
    engines: dict[str, Callable[[Pixels], Pixels]] = {}
    for precision in PRECISIONS:
        stylizer = NativeStylizer.load(weights, precision=precision)
        engines[precision] = partial(_alone, stylizer)
        engines[f"{precision}, bare"] = NativeNetwork(net, _BareKernels(net, precision), Workspaces(1))
    columns = _kernel_times(engines, net.config.blocks, photo, rounds=rounds)
    print(f"\nnative, {photo.shape[1]} x {photo.shape[0]}, ms\n")
    print("| layer | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    convolutions = _names(net.config.blocks)
    sums = {column: sum(times[name] for name in convolutions) for column, times in columns.items()}
    for name in convolutions:
        print(f"| {name} | " + " | ".join(f"{times[name]:.1f}" for times in columns.values()) + " |")
    print("| sum | " + " | ".join(f"{total:.1f}" for total in sums.values()) + " |")
    for name in ("sums of residuals", "bytes", "all"):
        cells = ("" if "bare" in column else f"{times[name]:.1f}" for column, times in columns.items())
        print(f"| {name} | " + " | ".join(cells) + " |")
    shares = (f"{column} {total / columns[column.split(',')[0]]['all']:.1%}" for column, total in sums.items())
    print(f"\nshares of the convolutions in the time of all: {'; '.join(shares)}")


def _alone(stylizer: Stylizer, photo: Pixels) -> Pixels:
    return stylizer(photo[None])


class _BareKernels(Kernels):
    """Kernels that convolve maps as they are: they normalise nothing, and make no statistics."""

    def convolve(self, x: Map, name: str, y: Tensor, *, rows: int, above: int, norm: Norm | None = None) -> None:
        super().convolve(_bare(x), name, y, rows=rows, above=above)

    def convolve_doubled(
        self, x: Map, name: str, y: Tensor, *, size: tuple[int, int], first: int, rows: int, norm: Norm | None = None
    ) -> None:
        super().convolve_doubled(_bare(x), name, y, size=size, first=first, rows=rows)

    def head(self, x: Map, y: Tensor, *, rows: int, above: int) -> None:
        super().head(_bare(x), y, rows=rows, above=above)


def _bare(x: Map) -> Map:
    """Return a map without what would normalise it, and fill it with floats of a usual size."""
    return replace(x, values=x.values.float().normal_(), scale=None, shift=None, relu=False)


def _kernel_times(
    engines: Mapping[str, Callable[[Pixels], Pixels]], blocks: int, photo: Pixels, *, rounds: int
) -> dict[str, dict[str, float]]:
    """Return medians for each engine; they run in turns, so that changes in the machine's speed affect all alike."""
    runs = {engine: defaultdict[str, list[float]](list) for engine in engines}
    run_kernel = native.call

    def timed(name: str, *arguments: Tensor | int | float | None) -> None:
        started = time.perf_counter()
        run_kernel(name, *arguments)
        layer = "sums of residuals" if name == "add" else "bytes" if name == "paint" else next(layers)
        times[layer] += 1000 * (time.perf_counter() - started)

    with mock.patch.object(native, "call", timed):
        for number in range(1 + rounds):
            for engine, stylize in engines.items():
                layers, times = iter(_names(blocks)), defaultdict[str, float](float)
                started = time.perf_counter()
                stylize(photo)
                times["all"] = 1000 * (time.perf_counter() - started)
                for name, ms in times.items():
                    runs[engine][name] += [ms] * (number > 0)
    return {engine: {name: statistics.median(ms) for name, ms in run.items()} for engine, run in runs.items()}


def _names(blocks: int) -> list[str]:
    """Return the names of the convolutions in the order in which they run."""
    names = [f"down{number}" for number in (1, 2, 3)]
    names += [f"residual {block + 1}.{half}" for block in range(blocks) for half in (1, 2)]
    return [*names, "up1", "up2", "head"]


def _profile(model: Any, precision: Precision, photo: Pixels, *, rounds: int) -> list[tuple[str, float]]:
    """Return the parts and mean milliseconds of the nodes that take time, in the order in which they run."""
    options = openvino_options(precision) | {"PERF_COUNT": True}
    request = core().compile_model(model, "CPU", options).create_infer_request()
    request.infer({"photo": photo[None]})
    runs = []
    for _ in range(rounds):
        request.infer({"photo": photo[None]})
        runs.append([(node.node_type, 1000 * node.real_time.total_seconds()) for node in request.profiling_info])
    means = [sum(ms for _, ms in node) / rounds for node in zip(*runs, strict=True)]
    return [(_PARTS.get(kind, "rest"), mean) for (kind, _), mean in zip(runs[0], means, strict=True)]


def _print_table(names: Sequence[str], profile: Sequence[tuple[str, float]]) -> None:
    """Print the parts of each layer: a layer is a convolution, the padding before and the normalisation after it."""
    rows: dict[str, dict[str, float]] = {name: defaultdict(float) for name in (*names, "all")}
    done = 0
    for part, ms in profile:
        if part == "rest":
            rows["all"][part] += ms
            continue
        rows[names[done - 1 if part == "normalisation" else done]][part] += ms
        rows["all"][part] += ms
        done += part == "convolution"
    total = sum(rows["all"].values())
    print("| layer | " + " | ".join(_COLUMNS) + " | of all |\n" + "|---" * (len(_COLUMNS) + 2) + "|")
    for name, row in rows.items():
        cells = [f"{row[column]:.1f}" if row[column] else "" for column in _COLUMNS]
        print(f"| {name} | " + " | ".join(cells) + f" | {sum(row.values()) / total:.1%} |")
    shares = ", ".join(f"{column} {rows['all'][column] / total:.1%}" for column in _COLUMNS)
    print(f"\nshares: {shares}")
