"""Graphs in int8 and float16 answer as the graph in float32 does."""

import numpy as np
import pytest

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from embedder_assets.serving.models.onnx.quantize import convert_fp16, quantize_int8
from tests.support.tiny_bert import CONFIG, FUSED, HEADS, TEXTS, TOP_K, TYPES, padded, run


def test_int8_is_close_and_reproducible(saved, tmp_path):
    import onnx

    source = tmp_path / "model.onnx"
    onnx.save(build_bert_onnx(saved, CONFIG, "mean_pool"), source)
    targets = [tmp_path / "first.onnx", tmp_path / "second.onnx"]
    for target in targets:
        quantize_int8(source, target)
    assert targets[0].read_bytes() == targets[1].read_bytes()
    quantized = onnx.load(targets[0])
    # Six linear layers in each of the two layers: the quantizer must have found every one.
    assert sum(node.op_type == "MatMulInteger" for node in quantized.graph.node) >= 12
    feed = padded(TEXTS, TYPES, 8)
    exact, approximate = run(onnx.load(source), feed)["embedding"], run(quantized, feed)["embedding"]
    assert (exact * approximate).sum(-1).min() > 0.95


def cosines(exact: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Of the rows of two arrays, [rows]."""
    return (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)


@pytest.mark.parametrize("head", HEADS)
def test_float16_graph_answers_in_float32(saved, tmp_path, head):
    import onnx

    source, target = tmp_path / "model.onnx", tmp_path / "half.onnx"
    onnx.save(build_bert_onnx(saved, CONFIG, head, top_k=TOP_K), source)
    convert_fp16(source, target)
    half = onnx.load(target)
    onnx.checker.check_model(half)
    stored = {t.name for t in half.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert {"encoder.layer.0.attention.self.query.weight_t", "embeddings.word_embeddings.weight"} <= stored
    feed = padded(TEXTS, TYPES, 12)
    exact, rough = run(onnx.load(source), feed), run(half, feed)
    for name, values in exact.items():
        assert rough[name].dtype == values.dtype
        if name != "indices":
            assert cosines(values, rough[name]).min() > 0.999
    if "embedding" in rough:
        np.testing.assert_allclose(np.linalg.norm(rough["embedding"], axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_fused_int8_graph_is_close(saved, tmp_path, head):
    import onnx

    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    onnx.save(build_bert_onnx(saved, FUSED, head, top_k=TOP_K), source)
    quantize_int8(source, target)
    quantized = onnx.load(target)
    onnx.checker.check_model(quantized)  # refuses nodes before what they read
    for feed in (padded(TEXTS[:1], TYPES[:1], 4), padded(TEXTS, TYPES, 12)):
        exact, rough = run(onnx.load(source), feed), run(quantized, feed)
        for name, values in exact.items():
            if name != "indices":
                assert cosines(values, rough[name]).min() > 0.95


def test_converting_a_non_model_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelBuildError, match="Build the float32 model again"):
        convert_fp16(tmp_path / "model.onnx", tmp_path / "half.onnx")


def test_quantizing_a_non_model_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelBuildError, match="Build the float32 model again"):
        quantize_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx")
