"""The graph of our own reranker: a shallow cross-encoder that also compares tokens.

Three ideas, each cheap. The first ``joint_layers`` let query and passage attend to each other whole. The layers after
them update the query's tokens only, which attend to the passage as it is: the answer is a judgement on the query, and
a query has a tenth of the tokens. Next to the logit of [CLS] stand two weighted sums over the query's tokens of their
best match in the passage, one on word embeddings (lexical) and one on projected token states (contextual): MaxSim of
Khattab and Zaharia, "ColBERT" (SIGIR 2020), joined with a cross-encoder as in MacAvaney et al., "CEDR" (SIGIR 2019).
``training/interaction_ranker.py`` is the same model in torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx.bert_encoder import BertGraph

if TYPE_CHECKING:
    import onnx

LAST = 2**31 - 1


@dataclass(frozen=True)
class InteractionConfig:
    """What a checkpoint's ``config.json`` says under ``interaction``.

    Attributes:
        joint_layers: Layers in which all tokens are updated.
        projection_size: Width of the token states that are compared.
        special_token_ids: Ids of [CLS] and [SEP], which match nothing.
    """

    joint_layers: int
    projection_size: int
    special_token_ids: tuple[int, int]

    @classmethod
    def from_file(cls, path: Path) -> InteractionConfig:
        """Reads a ``config.json`` that ``training/train_reranker.py`` wrote.

        Raises:
            ModelBuildError: It has no such section.
        """
        try:
            raw = json.loads(path.read_text("utf-8"))["interaction"]
            return cls(raw["joint_layers"], raw["projection_size"], tuple(raw["special_token_ids"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelBuildError(
                str(path),
                expected="a section 'interaction' with joint_layers, projection_size and special_token_ids",
                got=f"{type(error).__name__}: {error}",
                remedy="Use a checkpoint of training/train_reranker.py, or pooling = 'logit'.",
            ) from error


def interaction(graph: BertGraph, config: InteractionConfig) -> list[onnx.ValueInfoProto]:
    """The whole graph from the embeddings to ``score`` [batch, 1]."""
    from onnx import TensorProto, helper

    bias = graph.attention_bias()
    tokens = graph.embeddings()
    for layer in range(config.joint_layers):
        tokens = graph.layer(tokens, tokens, bias, f"encoder.layer.{layer}")
    _masks(graph, config)
    first = _query_side(graph, tokens, "side")
    side = first
    passage = graph.node("Slice", [tokens, "query_length", graph.ints(LAST), graph.ints(1)], "passage_side")
    for layer in range(config.joint_layers, graph.config.num_hidden_layers):
        memory = graph.node("Concat", [side, passage], f"memory.{layer}", axis=1)
        updated = graph.layer(side, memory, bias, f"encoder.layer.{layer}")
        side = graph.node("Where", ["own", updated, first], f"side.{layer}")
    terms = [_logit(graph, side), _token_logit(graph, side, first), *_matches(graph, config, tokens, first)]
    graph.node("Sum", terms, "score")
    return [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", 1])]


def _masks(graph: BertGraph, config: InteractionConfig) -> None:
    """``query_length`` int64 [1], the longest of the batch; ``own``, ``query_words`` and ``passage_words``."""
    from onnx import TensorProto

    types = graph.node("Cast", ["token_type_ids"], "types", to=TensorProto.FLOAT)
    queries = graph.node("Mul", ["mask", graph.node("Sub", [graph.floats("one", 1.0), types], "types_0")], "queries")
    lengths = graph.node("ReduceSum", [queries, graph.ints(1)], "query_lengths", keepdims=0)
    longest = graph.node("ReduceMax", [lengths, graph.ints(0)], "query_longest", keepdims=1)
    graph.node("Cast", [longest], "query_length", to=TensorProto.INT64)
    own = graph.node("Unsqueeze", [_query_side(graph, queries, "queries"), graph.ints(2)], "own_2d")
    graph.node("Cast", [own], "own", to=TensorProto.BOOL)
    words = "mask"
    for number, token in enumerate(config.special_token_ids):
        same = graph.node("Equal", ["input_ids", graph.ints(token)], f"special.{number}")
        ordinary = graph.node("Not", [same], f"ordinary.{number}")
        ordinary = graph.node("Cast", [ordinary], f"ordinary_float.{number}", to=TensorProto.FLOAT)
        words = graph.node("Mul", [words, ordinary], f"words.{number}")
    graph.node("Mul", [_query_side(graph, words, "words"), _query_side(graph, queries, "queries_2")], "query_words")
    graph.node("Mul", [words, types], "passage_words")


def _query_side(graph: BertGraph, x: str, name: str) -> str:
    """The first ``query_length`` tokens."""
    return graph.node("Slice", [x, graph.ints(0), "query_length", graph.ints(1)], f"{name}.query")


def _logit(graph: BertGraph, side: str) -> str:
    size = graph.config.hidden_size
    first = graph.node("Slice", [side, graph.ints(0), graph.ints(1), graph.ints(1)], "cls_3d")
    first = graph.node("Squeeze", [first, graph.ints(1)], "cls")
    pooled = graph.node("Tanh", [graph.linear(first, "pooler.dense", size, size)], "pooler")
    return graph.linear(pooled, "classifier", size, 1)


def _token_logit(graph: BertGraph, side: str, first: str) -> str:
    """The weighted mean of a logit of each query token."""
    logits = graph.linear(side, "token_classifier", graph.config.hidden_size, 1)
    logits = graph.node("Squeeze", [logits, graph.ints(2)], "token_logits")
    return _weighted(graph, logits, first, "token_gate")


def _matches(graph: BertGraph, config: InteractionConfig, tokens: str, first: str) -> list[str]:
    """MaxSim on projected token states and on word embeddings, each times its scale, [batch, 1]."""
    size = graph.config.hidden_size
    weight = graph.weights.get("interaction.projection.weight", config.projection_size, size)
    projected = graph.matmul(tokens, "interaction.projection.weight_t", weight, "interaction.projected")
    words = "embeddings.words"
    return [
        _max_similarity(graph, projected, first, "interaction.state"),
        _max_similarity(graph, words, _query_side(graph, words, "lexical"), "interaction.word"),
    ]


def _max_similarity(graph: BertGraph, vectors: str, gated: str, name: str) -> str:
    length = graph.node("ReduceL2", [vectors, graph.ints(2)], f"{name}.length", keepdims=1)
    length = graph.node("Max", [length, graph.floats("shortest", 1e-12)], f"{name}.length_safe")
    unit = graph.node("Div", [vectors, length], f"{name}.unit")
    across = graph.node("Transpose", [unit], f"{name}.across", perm=[0, 2, 1])
    cosine = graph.node("MatMul", [_query_side(graph, unit, name), across], f"{name}.cosine")
    absent = graph.node("Sub", ["passage_words", graph.floats("one", 1.0)], f"{name}.absent")
    absent = graph.node("Mul", [absent, graph.floats("below", 2.0)], f"{name}.below")
    cosine = graph.node(
        "Add", [cosine, graph.node("Unsqueeze", [absent, graph.ints(1)], f"{name}.bias")], f"{name}.kept"
    )
    best = graph.node("ReduceMax", [cosine, graph.ints(2)], f"{name}.best", keepdims=0)
    mean = _weighted(graph, best, gated, f"{name}_gate")
    scale = graph.constant(f"{name}_scale", graph.weights.get(f"{name}_scale", 1))
    return graph.node("Mul", [mean, scale], f"{name}.term")


def _weighted(graph: BertGraph, values: str, gated: str, gate: str) -> str:
    """The mean of [batch, query tokens] weighted by softplus(gate), the special tokens left out; [batch, 1]."""
    weights = graph.linear(gated, gate, graph.config.hidden_size, 1)
    weights = graph.node("Softplus", [weights], f"{gate}.positive")
    weights = graph.node("Squeeze", [weights, graph.ints(2)], f"{gate}.weights_2d")
    weights = graph.node("Mul", [weights, "query_words"], f"{gate}.weights")
    total = graph.node("ReduceSum", [weights, graph.ints(1)], f"{gate}.total", keepdims=1)
    total = graph.node("Max", [total, graph.floats("least", 1e-6)], f"{gate}.total_safe")
    product = graph.node("Mul", [values, weights], f"{gate}.values")
    summed = graph.node("ReduceSum", [product, graph.ints(1)], f"{gate}.sum", keepdims=1)
    return graph.node("Div", [summed, total], f"{gate}.mean")
