"""What follows the encoder: pooling of a dense model, the SPLADE maximum, or the logit of a cross-encoder.

Every head takes a graph and the name of the token vectors [batch, seq, hidden], and returns the graph's outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder_assets.serving.models.onnx.bert_encoder import BertGraph

if TYPE_CHECKING:
    import onnx


# Entries of the vocabulary at a time: with the logits of 256 tokens a megabyte. Whole registers, and no power of two,
# which would put the same column of all tokens into the same few lines of the cache.
VOCABULARY_SLICE = 976


def mean_pool(graph: BertGraph, hidden: str, *, normalize: bool) -> list[onnx.ValueInfoProto]:
    """The mean of the real tokens."""
    column = graph.node("Unsqueeze", ["mask", graph.ints(2)], "pool.mask")
    kept = graph.node("Mul", [hidden, column], "pool.kept")
    total = graph.node("ReduceSum", [kept, graph.ints(1)], "pool.total", keepdims=0)
    count = graph.node("ReduceSum", ["mask", graph.ints(1)], "pool.count", keepdims=1)
    count = graph.node("Max", [count, graph.floats("pool.least", 1e-9)], "pool.count_safe")
    mean = graph.node("Div", [total, count], "pool.mean" if normalize else "embedding")
    return _embedding(graph, mean, normalize=normalize)


def cls_pool(graph: BertGraph, hidden: str, *, normalize: bool) -> list[onnx.ValueInfoProto]:
    """The vector of the first token."""
    first = graph.node("Gather", [hidden, _zero(graph)], "pool.first" if normalize else "embedding", axis=1)
    return _embedding(graph, first, normalize=normalize)


def last_token_pool(graph: BertGraph, hidden: str, *, normalize: bool) -> list[onnx.ValueInfoProto]:
    """The vector of the last token that the attention mask keeps."""
    last = graph.node("ArgMax", ["attention_mask"], "pool.position", axis=1, keepdims=1, select_last_index=1)
    vector = graph.node("GatherND", [hidden, last], "pool.last" if normalize else "embedding", batch_dims=1)
    return _embedding(graph, vector, normalize=normalize)


def splade_topk(graph: BertGraph, hidden: str, top_k: int) -> list[onnx.ValueInfoProto]:
    """The largest log(1 + relu(logit)) over the tokens, of the ``top_k`` largest vocabulary entries."""
    from onnx import TensorProto

    c = graph.config
    x = graph.linear(hidden, "cls.predictions.transform.dense", c.hidden_size, c.hidden_size)
    x = graph.node("Gelu", [x], "cls.predictions.transform.gelu")
    x = graph.layer_norm(x, "cls.predictions.transform.LayerNorm")
    x = _without_masked(graph, x)
    tied = "embeddings.word_embeddings.weight"
    decoder = "cls.predictions.decoder.weight"
    weight = graph.weights.get(decoder if decoder in graph.weights else tied, c.vocab_size, c.hidden_size)
    peak = _largest_logits(graph, x, weight, decoder)
    # The bias is the same for every token and log(1+relu(x)) is monotone: both can follow the maximum,
    # where they touch one row per text and not one per token.
    bias = graph.constant("cls.predictions.bias", graph.weights.get("cls.predictions.bias", c.vocab_size))
    peak = graph.node("Add", [peak, bias], "splade.biased")
    peak = graph.node("Relu", [peak], "splade.relu")
    peak = graph.node("Add", [peak, graph.floats("one", 1.0)], "splade.plus_one")
    peak = graph.node("Log", [peak], "splade.weights")
    graph.topk(peak, top_k)
    return [_output("indices", top_k, TensorProto.INT64), _output("values", top_k)]


def classify(graph: BertGraph, hidden: str) -> list[onnx.ValueInfoProto]:
    """The raw logit of a cross-encoder, from the pooled first token."""
    size = graph.config.hidden_size
    first = graph.node("Gather", [hidden, _zero(graph)], "cls", axis=1)
    pooled = graph.node("Tanh", [graph.linear(first, "pooler.dense", size, size)], "pooler")
    logit = graph.linear(pooled, "classifier", size, 1)
    graph.node("Identity", [logit], "score")
    return [_output("score", 1)]


def _embedding(graph: BertGraph, vector: str, *, normalize: bool) -> list[onnx.ValueInfoProto]:
    if normalize:
        length = graph.node("ReduceL2", [vector, graph.ints(1)], "pool.length", keepdims=1)
        length = graph.node("Max", [length, graph.floats("pool.shortest", 1e-12)], "pool.length_safe")
        graph.node("Div", [vector, length], "embedding")
    return [_output("embedding", graph.config.hidden_size)]


def _zero(graph: BertGraph) -> str:
    return graph.constant("zero", np.array(0, dtype=np.int64))


def _without_masked(graph: BertGraph, x: str) -> str:
    """Put the first real token in the place of masked ones: the maximum over tokens then ignores them.

    This touches ``hidden_size`` numbers a token; a bias on the logits would touch the whole vocabulary.
    """
    from onnx import TensorProto

    first = graph.node("ArgMax", ["attention_mask"], "splade.first", axis=1, keepdims=1)
    stand_in = graph.node("GatherND", [x, first], "splade.stand_in_2d", batch_dims=1)
    stand_in = graph.node("Unsqueeze", [stand_in, graph.ints(1)], "splade.stand_in")
    kept = graph.node("Cast", ["attention_mask"], "splade.kept_2d", to=TensorProto.BOOL)
    kept = graph.node("Unsqueeze", [kept, graph.ints(2)], "splade.kept")
    return graph.node("Where", [kept, x, stand_in], "splade.tokens")


def _largest_logits(graph: BertGraph, x: str, weight: NDArray[np.float32], name: str) -> str:
    """The largest logit of each vocabulary entry over the tokens ``x`` [batch, seq, hidden], without bias.

    A slice of the vocabulary at a time, so that its logits are still in the cache when their maximum is taken; and over
    two halves of the text side by side, because ONNX Runtime takes the maximum over the middle axis three times as fast
    where there is more than one row before it (docs/adr/0019).
    """
    odd = graph.node("Mod", ["length", graph.ints(2)], "splade.odd")
    # A token that is there twice changes no maximum.
    again = graph.node("Slice", [x, graph.ints(0), odd, graph.ints(1)], "splade.again")
    even = graph.node("Concat", [x, again], "splade.even", axis=1)
    halves = graph.node("Reshape", [even, graph.ints(0, 2, -1, graph.config.hidden_size)], "splade.halves")
    peaks = []
    for start in range(0, len(weight), VOCABULARY_SLICE):
        part = weight[start : start + VOCABULARY_SLICE]
        logits = graph.matmul(halves, f"{name}_t.{start}", part, f"splade.logits.{start}")
        peaks.append(graph.node("ReduceMax", [logits, graph.ints(2)], f"splade.peaks.{start}", keepdims=0))
    peak = graph.node("Concat", peaks, "splade.peaks", axis=-1)
    return graph.node("ReduceMax", [peak, graph.ints(1)], "splade.peak", keepdims=0)


def _output(name: str, width: int, kind: int | None = None) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT if kind is None else kind, ["batch", width])
