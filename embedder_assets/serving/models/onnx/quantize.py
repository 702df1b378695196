"""The number formats that a model is served in: int8 for the CPU, float16 for a GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx.per_token_scale import scale_tokens

if TYPE_CHECKING:
    import onnx

# Where the walk back from an output ends: what lies behind is the encoder, or a matrix too large for float32.
ENCODER_OPS = ("LayerNormalization", "MatMul", "Gemm")


def quantize_int8(source: Path, target: Path) -> None:
    """Write a copy of a model whose weights are int8 and whose activations are quantized on the fly.

    The same source and the same library version give the same bytes. What changes them changes ``models.RECIPES`` too.

    Args:
        source: The float32 model.
        target: Where the int8 model goes; its folder must exist.

    Raises:
        ModelBuildError: The model cannot be read or quantized.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    # The quantizer warns on the root logger that no pre-processing ran; these graphs need none.
    root.setLevel(logging.ERROR)
    try:
        model = onnx.load(source)
        scale_tokens(model.graph)
        quantize_dynamic(model, target, weight_type=QuantType.QInt8, per_channel=True)
        model = onnx.load(target)
        _sort(model.graph)
        onnx.checker.check_model(model)
        onnx.save(model, target)
    except Exception as error:
        raise _failed(source, "quantized", error) from error
    finally:
        root.setLevel(level)


def convert_fp16(source: Path, target: Path) -> None:
    """Write a copy of a model in float16 whose outputs stay float32; an embedding is pooled and scaled in float32.

    Args:
        source: The float32 model.
        target: Where the float16 model goes; its folder must exist.

    Raises:
        ModelBuildError: The model cannot be read or converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    try:
        model = onnx.load(source)
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=_pooling_nodes(model.graph))
        _remove_casts(half.graph)
        OnnxModel(half).topological_sort()
        onnx.checker.check_model(half)
        onnx.save(half, target)
    except Exception as error:
        raise _failed(source, "converted to float16", error) from error


def _sort(graph: onnx.GraphProto) -> None:
    """Puts every node behind those it reads from; the quantizer does not see what the branches of an If read."""
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    before = {
        index: [producers[name] for name in _reads(node) if name in producers] for index, node in enumerate(graph.node)
    }
    nodes = [graph.node[index] for index in TopologicalSorter(before).static_order()]
    del graph.node[:]
    graph.node.extend(nodes)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _reads(inner)


def _pooling_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes between the encoder and the output ``embedding``; in float16 its length would not be 1."""
    producers = {name: node for node in graph.node for name in node.output}
    names: set[str] = set()
    open_ends = ["embedding"]
    while open_ends:
        node = producers.get(open_ends.pop())
        if node is not None and node.name not in names and node.op_type not in (*ENCODER_OPS, "Cast"):
            names.add(node.name)
            open_ends += node.input
    return sorted(names)


def _remove_casts(graph: onnx.GraphProto) -> None:
    """Removes what the converter leaves between two float32 nodes: a detour through float16, and a Cast made twice."""
    from onnx import TensorProto, helper

    halved = {node.output[0]: node.input[0] for node in graph.node if node.name.endswith("_cast_to_fp16_node")}
    nodes: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        widens = node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT and node.input[0] in halved
        kept = helper.make_node("Identity", [halved[node.input[0]]], node.output, name=node.name) if widens else node
        nodes.setdefault(node.output[0], kept)
    kept_nodes = list(nodes.values())
    del graph.node[:]
    graph.node.extend(kept_nodes)


def _failed(source: Path, action: str, error: Exception) -> ModelBuildError:
    return ModelBuildError(
        str(source),
        expected=f"an ONNX model that can be {action}",
        got=f"{type(error).__name__}: {error}",
        remedy="Build the float32 model again, then repeat.",
    )
