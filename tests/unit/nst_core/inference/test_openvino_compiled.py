"""Tests of nst_core.inference.openvino_compiled."""

import numpy as np

from nst_core.inference.openvino_compiled import CompiledGraph, precisions
from nst_core.inference.openvino_graph import Graph
from nst_core.nets.transformer import TransformerConfig


def test_precisions_become_lower() -> None:
    order = ["fp32", "bf16", "int8"]
    assert precisions() == [precision for precision in order if precision in precisions()]
    assert precisions()[0] == "fp32"


def test_a_graph_has_named_inputs_and_outputs_and_runs_again_after_its_memory_was_given_back() -> None:
    layers = Graph(TransformerConfig(width=8), {})
    x, y = layers.input("x", [-1]), layers.input("y", [-1])
    graph = CompiledGraph(layers.model({"sum": layers.add(x, y)}), "fp32")
    assert graph.inputs == {"x", "y"}
    values = {"x": np.arange(3, dtype=np.float32), "y": np.ones(3, np.float32)}
    first = graph(values)["sum"]
    graph.release()
    assert np.array_equal(first, [1, 2, 3])
    assert np.array_equal(graph(values)["sum"], first)


def test_int8_computes_the_other_layers_in_the_fastest_other_precision() -> None:
    layers = Graph(TransformerConfig(width=8), {})
    x = layers.input("x", [-1])
    graph = CompiledGraph(layers.model({"sum": layers.add(x, x)}), "int8")
    assert graph.precision == precisions()[-2]
