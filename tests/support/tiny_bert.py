"""A BERT of a few weights, and what goes into its graph."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from embedder_assets.serving.models.onnx.bert_encoder import BertConfig

if TYPE_CHECKING:
    import onnx

CONFIG = BertConfig(
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=12,
    vocab_size=40,
    layer_norm_eps=1e-12,
    hidden_act="gelu",
)
FUSED = dataclasses.replace(CONFIG, fused=True)
TOP_K = 10
HEADS = ["mean_pool", "cls_pool", "last_token_pool", "splade_topk", "classify"]
TEXTS = [[1, 5, 7, 2], [1, 9, 30, 12, 39, 4, 4, 2], [1, 2]]
TYPES = [[0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1], [0, 1]]


def padded(texts: list[list[int]], types: list[list[int]], length: int, pad: int = 0) -> dict[str, np.ndarray]:
    """The inputs of a graph: token ids and types of some texts, [texts, length]."""
    feed = {
        name: np.full((len(texts), length), fill, dtype=np.int64)
        for name, fill in (("input_ids", pad), ("attention_mask", 0), ("token_type_ids", 0))
    }
    for i, (ids, kinds) in enumerate(zip(texts, types, strict=True)):
        feed["input_ids"][i, : len(ids)] = ids
        feed["attention_mask"][i, : len(ids)] = 1
        feed["token_type_ids"][i, : len(ids)] = kinds
    return feed


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a graph, by name."""
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))
