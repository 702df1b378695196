"""Gives every token a range of its own where int8 would lose most: before and after the Gelu of a feed-forward part.

Dynamic quantization takes one range for all tokens of a text. In BERT models a few tokens have values ten times as
large as the others', there above all, so that few of the 256 steps are left for the others. A product with a weight may
be scaled by token: ``(x / r) W r = x W`` with r the largest magnitude of each token. docs/adr/0007 has the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

LAST_AXIS = "token_scale.last_axis"
SMALLEST = "token_scale.smallest"
# A Gelu is never below -0.17: above that its largest value is its largest magnitude.
DEEPEST = "token_scale.deepest_gelu"


def scale_tokens(graph: onnx.GraphProto) -> int:
    """Scales the products with a weight around every Gelu by token; exact but for rounding.

    A graph that writes its Gelu as several operators, or gates it, is left as it is.

    Args:
        graph: A float32 graph, changed in place.

    Returns:
        How many products were scaled.
    """
    from onnx import numpy_helper

    scaled = _products_around_gelu(graph)
    if not scaled:
        return 0
    active = {node.output[0] for node in graph.node if node.op_type == "Gelu"}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _scaled(node, active=node.input[0] in active) if node.name in scaled else [node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), LAST_AXIS))
    for name, value in ((SMALLEST, 1e-9), (DEEPEST, 0.17)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return len(scaled)


def _products_around_gelu(graph: onnx.GraphProto) -> set[str]:
    """Names of MatMul nodes with a constant weight that lead into a Gelu, over the bias, or out of one."""
    weights = {tensor.name for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    found = set()
    for gelu in (node for node in graph.node if node.op_type == "Gelu"):
        before = producers.get(gelu.input[0])
        if before is not None and before.op_type == "Add":
            products = [producers[name] for name in before.input if name in producers]
            found |= {node.name for node in products if _has_weight(node, weights)}
        after = [node for node in graph.node if gelu.output[0] in node.input]
        found |= {node.name for node in after if _has_weight(node, weights)}
    return found


def _has_weight(node: onnx.NodeProto, weights: set[str]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in weights and node.input[0] not in weights


def _scaled(product: onnx.NodeProto, *, active: bool) -> list[onnx.NodeProto]:
    """The nodes of ``(x / r) W r``, x [batch, seq, in] and r [batch, seq, 1]; ``active``: x is what a Gelu gave."""
    from onnx import helper

    x, weight = product.input
    name = product.name

    def node(op: str, inputs: list[str], part: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [f"{name}.{part}"], name=f"{name}.{part}/{op}", **attributes)

    magnitude = [] if active else [node("Abs", [x], "magnitude")]
    return [
        *magnitude,
        node("ReduceMax", [x if active else f"{name}.magnitude", LAST_AXIS], "largest", keepdims=1),
        node("Max", [f"{name}.largest", DEEPEST if active else SMALLEST], "range"),
        node("Div", [x, f"{name}.range"], "unit"),
        helper.make_node("MatMul", [f"{name}.unit", weight], [f"{name}.scaled"], name=name),
        helper.make_node("Mul", [f"{name}.scaled", f"{name}.range"], product.output, name=f"{name}.back/Mul"),
    ]
