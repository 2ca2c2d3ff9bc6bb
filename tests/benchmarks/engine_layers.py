"""Where our graph of OpenVINO spends its time, layer by layer."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from nst_core.inference.openvino_compiled import core, precisions
from nst_core.inference.openvino_graph import Graph, odd_sizes, whole
from nst_core.inference.openvino_int8 import Calibration
from nst_core.inference.stylizer import Pixels, Precision
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
    names = [f"down{number}" for number in (1, 2, 3)]
    names += [f"residual {block + 1}.{half}" for block in range(net.config.blocks) for half in (1, 2)]
    names += ["up1", "up2", "head"]
    tensors = {name: value.float().numpy() for name, value in net.state_dict().items()}
    for precision in precisions():
        graph = Graph(net.config, tensors, Calibration(net.config, tensors).ranges if precision == "int8" else None)
        model = graph.model(whole(graph, odd=odd_sizes(net.config, *photo.shape[:2])))
        print(f"\nopenvino in {precision}, {photo.shape[1]} x {photo.shape[0]}, ms\n")
        _print_table(names, _profile(model, precision, photo, rounds=rounds))


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
