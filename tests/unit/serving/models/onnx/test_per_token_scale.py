"""Scaling by token: exact in float32, and closer in int8 where one token is much larger than the others."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedder_assets.serving.models.onnx import quantize as precision
from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from embedder_assets.serving.models.onnx.per_token_scale import scale_tokens
from embedder_assets.serving.models.onnx.quantize import quantize_int8
from tests.support.checkpoints import write_checkpoint

WIDTH, TOKENS = 32, 20


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]


@pytest.fixture
def bert(tmp_path) -> onnx.ModelProto:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    config = BertConfig.from_file(checkpoint / "config.json")
    return build_bert_onnx(checkpoint / "model.safetensors", config, "mean_pool")


def feed_forward(activation: str = "Gelu") -> onnx.ModelProto:
    """x [1, tokens, width] through a wide layer with the activation, and back."""
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["product"], name="first"),
        helper.make_node("Add", ["product", "b1"], ["wide"], name="bias"),
        helper.make_node(activation, ["wide"], ["active"], name="activation"),
        helper.make_node("MatMul", ["active", "w2"], ["y"], name="second"),
    ]
    shape = [1, TOKENS, WIDTH]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    tensors = [weights("w1", WIDTH, 4 * WIDTH), weights("b1", 4 * WIDTH), weights("w2", 4 * WIDTH, WIDTH)]
    graph = helper.make_graph(nodes, "feed_forward", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_scaling_around_gelu_is_exact(bert):
    ids = np.arange(1, 13)[None]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    before = run(bert, feeds)
    layers = sum(node.op_type == "Gelu" for node in bert.graph.node)
    assert scale_tokens(bert.graph) == 2 * layers > 0
    onnx.checker.check_model(bert)
    np.testing.assert_allclose(run(bert, feeds), before, atol=1e-6)


def test_zero_token_stays_finite():
    model = feed_forward()
    x = np.zeros((1, TOKENS, WIDTH), np.float32)
    before = run(model, {"x": x})
    scale_tokens(model.graph)
    np.testing.assert_allclose(run(model, {"x": x}), before, atol=1e-6)


def test_large_token_does_not_coarsen_others(tmp_path, monkeypatch):
    x = np.random.default_rng(1).normal(size=(1, TOKENS, WIDTH)).astype(np.float32)
    x[0, 0] *= 30
    onnx.save(feed_forward(), tmp_path / "plain.onnx")
    exact = run(feed_forward(), {"x": x})

    def error() -> float:
        quantize_int8(tmp_path / "plain.onnx", tmp_path / "int8.onnx")
        answer = run(onnx.load(tmp_path / "int8.onnx"), {"x": x})
        return float(np.abs(answer - exact)[0, 1:].mean())

    scaled = error()
    monkeypatch.setattr(precision, "scale_tokens", lambda graph: 0)
    assert scaled < error() / 3


def test_graph_without_gelu_is_unchanged():
    model = feed_forward("Tanh")
    before = model.SerializeToString()
    assert scale_tokens(model.graph) == 0
    assert model.SerializeToString() == before
