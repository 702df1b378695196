"""The ONNX graphs against a second, independent forward pass in numpy on tiny random weights."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx import bert_heads
from embedder_assets.serving.models.onnx.bert import build_bert_onnx
from tests.support.tiny_bert import CONFIG, FUSED, HEADS, TEXTS, TOP_K, TYPES, padded, run


def with_prefix(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The spelling of old task models: a prefix, and gamma and beta in place of weight and bias."""
    return {
        (name if name.startswith(("cls.", "classifier.")) else f"bert.{name}")
        .replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights.items()
    }


class Reference:
    """BERT in numpy, one text at a time and without padding, so that no mask is needed."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + CONFIG.layer_norm_eps)
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    @staticmethod
    def gelu(x: np.ndarray) -> np.ndarray:
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def attention(self, x: np.ndarray, layer: str) -> np.ndarray:
        width = CONFIG.hidden_size // CONFIG.num_attention_heads
        query, key, value = (self.linear(x, f"{layer}.attention.self.{p}") for p in ("query", "key", "value"))
        parts = []
        for start in range(0, CONFIG.hidden_size, width):
            part = slice(start, start + width)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(width))
            parts.append(scores / scores.sum(-1, keepdims=True) @ value[:, part])
        return np.concatenate(parts, axis=-1)

    def encode(self, ids: list[int], types: list[int]) -> np.ndarray:
        x = self.w["embeddings.word_embeddings.weight"][ids]
        x = x + self.w["embeddings.token_type_embeddings.weight"][types]
        x = x + self.w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(CONFIG.num_hidden_layers):
            layer = f"encoder.layer.{i}"
            attended = self.linear(self.attention(x, layer), f"{layer}.attention.output.dense")
            x = self.norm(x + attended, f"{layer}.attention.output.LayerNorm")
            wide = self.gelu(self.linear(x, f"{layer}.intermediate.dense"))
            x = self.norm(x + self.linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def mean_pool(self, ids: list[int], types: list[int], normalize: bool = True) -> np.ndarray:
        mean = self.encode(ids, types).mean(0)
        return mean / np.linalg.norm(mean) if normalize else mean

    def splade(self, ids: list[int], types: list[int]) -> np.ndarray:
        x = self.gelu(self.linear(self.encode(ids, types), "cls.predictions.transform.dense"))
        x = self.norm(x, "cls.predictions.transform.LayerNorm")
        logits = x @ self.w["embeddings.word_embeddings.weight"].T + self.w["cls.predictions.bias"]
        return np.log1p(np.maximum(logits, 0)).max(0)

    def classify(self, ids: list[int], types: list[int]) -> np.ndarray:
        return self.linear(np.tanh(self.linear(self.encode(ids, types)[0], "pooler.dense")), "classifier")


@pytest.mark.parametrize("normalize", [True, False])
def test_mean_pool_equals_the_reference(weights, saved, normalize):
    model = build_bert_onnx(saved, CONFIG, "mean_pool", normalize=normalize)
    out = run(model, padded(TEXTS, TYPES, 8))["embedding"]
    expected = [Reference(weights).mean_pool(*text, normalize) for text in zip(TEXTS, TYPES, strict=True)]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize(("head", "position"), [("cls_pool", 0), ("last_token_pool", -1)])
@pytest.mark.parametrize("normalize", [True, False])
def test_single_token_pooling_equals_the_reference(weights, saved, head, position, normalize):
    model = build_bert_onnx(saved, CONFIG, head, normalize=normalize)
    expected = np.stack([Reference(weights).encode(*text)[position] for text in zip(TEXTS, TYPES, strict=True)])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    # Padded to the longest text and beyond: the last position is real in one text only, then in none.
    for length in (8, 11):
        np.testing.assert_allclose(run(model, padded(TEXTS, TYPES, length))["embedding"], expected, atol=1e-5)


def test_splade_equals_the_reference_largest_first(weights, saved):
    out = run(build_bert_onnx(saved, CONFIG, "splade_topk", top_k=TOP_K), padded(TEXTS, TYPES, 8))
    assert out["indices"].shape == out["values"].shape == (len(TEXTS), TOP_K)
    assert out["indices"].dtype == np.int64
    for indices, values, text in zip(out["indices"], out["values"], zip(TEXTS, TYPES, strict=True), strict=True):
        expected = Reference(weights).splade(*text)
        np.testing.assert_allclose(values, np.sort(expected)[::-1][:TOP_K], atol=1e-5)
        np.testing.assert_allclose(values, expected[indices], atol=1e-5)


def test_classifier_equals_the_reference(weights, saved):
    out = run(build_bert_onnx(saved, CONFIG, "classify"), padded(TEXTS, TYPES, 8))["score"]
    expected = [Reference(weights).classify(*text) for text in zip(TEXTS, TYPES, strict=True)]
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_padding_does_not_change_the_result(saved, head):
    model = build_bert_onnx(saved, CONFIG, head, top_k=TOP_K)
    tight = run(model, padded(TEXTS[:1], TYPES[:1], 4))
    loose = run(model, padded(TEXTS[:1], TYPES[:1], 12, pad=17))
    for name, value in tight.items():
        np.testing.assert_allclose(loose[name], value, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_padding_only_row_stays_finite(saved, head):
    out = run(build_bert_onnx(saved, CONFIG, head, top_k=TOP_K), padded([[]], [[]], 4))
    assert all(np.isfinite(value).all() for value in out.values())


@pytest.mark.parametrize("head", HEADS)
def test_tensor_name_variants_give_equal_models(weights, saved, tmp_path, head):
    save_file(with_prefix(weights), tmp_path / "prefixed.safetensors")
    plain = build_bert_onnx(saved, CONFIG, head, top_k=TOP_K)
    prefixed = build_bert_onnx(tmp_path / "prefixed.safetensors", CONFIG, head, top_k=TOP_K)
    assert plain.SerializeToString() == prefixed.SerializeToString()


@pytest.mark.parametrize("width", [7, 8, 40])
def test_vocabulary_slices_change_nothing(weights, saved, monkeypatch, width):
    monkeypatch.setattr(bert_heads, "VOCABULARY_SLICE", width)
    model = build_bert_onnx(saved, CONFIG, "splade_topk", top_k=CONFIG.vocab_size)
    assert sum(t.name.startswith("cls.predictions.decoder") for t in model.graph.initializer) == -(-40 // width)
    out = run(model, padded(TEXTS, TYPES, 9))
    expected = np.stack([Reference(weights).splade(*text) for text in zip(TEXTS, TYPES, strict=True)])
    np.testing.assert_allclose(out["values"], np.take_along_axis(expected, out["indices"], 1), atol=1e-5)
    assert (np.sort(out["indices"]) == np.arange(CONFIG.vocab_size)).all()


def test_untied_decoder_is_used(weights, tmp_path):
    from onnx import numpy_helper

    weights["cls.predictions.decoder.weight"] = -weights["embeddings.word_embeddings.weight"]
    save_file(weights, tmp_path / "untied.safetensors")
    model = build_bert_onnx(tmp_path / "untied.safetensors", CONFIG, "splade_topk", top_k=TOP_K)
    (decoder,) = [t for t in model.graph.initializer if t.name.startswith("cls.predictions.decoder")]
    expected = weights["cls.predictions.decoder.weight"].T
    np.testing.assert_array_equal(numpy_helper.to_array(decoder), expected)


@pytest.mark.parametrize(
    ("head", "name", "remedy"),
    [
        ("mean_pool", "encoder.layer.1.attention.self.key.bias", "config.json"),
        ("mean_pool", "embeddings.LayerNorm.weight", "config.json"),
        ("splade_topk", "cls.predictions.transform.dense.weight", "masked-LM head"),
        ("classify", "classifier.weight", "num_labels 1"),
    ],
)
def test_missing_tensor_is_named(weights, tmp_path, head, name, remedy):
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelBuildError, match=name.replace(".", r"\.")) as error:
        build_bert_onnx(tmp_path / "model.safetensors", CONFIG, head, top_k=TOP_K)
    assert remedy in error.value.remedy


def test_bfloat16_weights_are_read(weights, tmp_path):
    upper = {name: (tensor.view(np.uint32) >> 16).astype("<u2") for name, tensor in weights.items()}
    save_file(upper, tmp_path / "half.safetensors")
    content = (tmp_path / "half.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].rstrip().replace(b'"U16"', b'"BF16"')
    (tmp_path / "half.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    cut = {name: (half.astype(np.uint32) << 16).view(np.float32) for name, half in upper.items()}
    save_file(cut, tmp_path / "cut.safetensors")
    half, full = (build_bert_onnx(tmp_path / f"{name}.safetensors", CONFIG, "mean_pool") for name in ("half", "cut"))
    assert half.SerializeToString() == full.SerializeToString()


def test_tensor_of_wrong_shape_is_named(weights, tmp_path):
    weights["classifier.weight"] = np.zeros((2, CONFIG.hidden_size), dtype=np.float32)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelBuildError, match=r"classifier\.weight .*shape \[1, 8\], got shape \[2, 8\]"):
        build_bert_onnx(tmp_path / "model.safetensors", CONFIG, "classify")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"vocab_size": TOP_K - 1}, "top_k"),
    ],
)
def test_unsupported_architecture_is_refused(saved, change, named):
    with pytest.raises(ModelBuildError, match=named):
        build_bert_onnx(saved, dataclasses.replace(CONFIG, **change), "splade_topk", top_k=TOP_K)


def test_unknown_head_is_refused(saved):
    with pytest.raises(ModelBuildError, match="mean_pool, cls_pool, last_token_pool, splade_topk, classify"):
        build_bert_onnx(saved, CONFIG, "max_pool")


@pytest.mark.parametrize("content", [None, b"not safetensors"])
def test_unreadable_weights_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelBuildError, match="Fetch the model again"):
        build_bert_onnx(path, CONFIG, "mean_pool")


@pytest.mark.parametrize("head", HEADS)
def test_fused_attention_ignores_padding(saved, head):
    import onnx

    plain, fused = (build_bert_onnx(saved, config, head, top_k=TOP_K) for config in (CONFIG, FUSED))
    onnx.checker.check_model(fused)
    branches = [attribute.g for node in fused.graph.node if node.op_type == "If" for attribute in node.attribute]
    assert len(branches) == 2 * CONFIG.num_hidden_layers
    for feed in (padded(TEXTS[:1], TYPES[:1], 4), padded(TEXTS, TYPES, 12, pad=17)):
        expected = run(plain, feed)
        for name, values in run(fused, feed).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-5)
