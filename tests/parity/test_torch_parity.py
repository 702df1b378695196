"""The ONNX graphs against transformers itself, where torch is installed (the extra ``torch``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedder_assets.serving.models.onnx.bert import Head, build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig

torch = pytest.importorskip("torch", reason="parity needs the extra: pip install 'embedder-assets[torch]'")
transformers = pytest.importorskip(
    "transformers", reason="parity needs the extra: pip install 'embedder-assets[torch]'"
)

TOLERANCE = 1e-5
VOCABULARY = 200
TOP_K = 50


def saved(kind: str, folder: Path):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        num_labels=1,
    )
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return model


@pytest.fixture
def feed() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = np.array([40, 3, 17, 1, 33])
    mask = (np.arange(40) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(0, VOCABULARY, mask.shape)
    types = (np.arange(40) >= lengths[:, None] // 2) & (mask == 1)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types.astype(np.int64)}


def run_onnx(folder: Path, head: Head, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    import onnxruntime as ort

    config = BertConfig.from_file(folder / "config.json")
    model = build_bert_onnx(folder / "model.safetensors", config, head, top_k=TOP_K)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def run_torch(model, feed: dict[str, np.ndarray]):
    with torch.no_grad():
        return model(**{name: torch.from_numpy(value) for name, value in feed.items()})


def report(name: str, got: np.ndarray, expected: np.ndarray) -> None:
    print(f"{name}: largest difference {np.abs(got - expected).max():.2e}")
    np.testing.assert_allclose(got, expected, atol=TOLERANCE, rtol=0)


def test_dense(tmp_path, feed):
    model = saved("BertModel", tmp_path)
    hidden = run_torch(model, feed).last_hidden_state.numpy()
    mask = feed["attention_mask"][:, :, None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    (got,) = run_onnx(tmp_path, "mean_pool", feed)
    report("dense", got, expected)


def test_sparse(tmp_path, feed):
    model = saved("BertForMaskedLM", tmp_path)
    logits = run_torch(model, feed).logits.numpy()
    expected = (np.log1p(np.maximum(logits, 0)) * feed["attention_mask"][:, :, None]).max(1)
    indices, values = run_onnx(tmp_path, "splade_topk", feed)
    report("sparse, by term", values, np.take_along_axis(expected, indices, axis=1))
    report("sparse, by rank", values, -np.sort(-expected, axis=1)[:, :TOP_K])


def test_classify(tmp_path, feed):
    model = saved("BertForSequenceClassification", tmp_path)
    (got,) = run_onnx(tmp_path, "classify", feed)
    report("classify", got, run_torch(model, feed).logits.numpy())
