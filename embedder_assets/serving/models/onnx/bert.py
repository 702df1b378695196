"""BERT encoders as ONNX graphs, written straight from their safetensors without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.onnx import bert_heads, bert_interaction
from embedder_assets.serving.models.onnx.bert_encoder import RUNTIME_DOMAIN, BertConfig, BertGraph, BertWeights
from embedder_assets.serving.models.onnx.bert_interaction import InteractionConfig

if TYPE_CHECKING:
    import onnx

Head: TypeAlias = Literal["mean_pool", "cls_pool", "last_token_pool", "splade_topk", "classify"]

OPSET = 20
IR_VERSION = 9


def build_bert_onnx(
    weights: Path,
    config: BertConfig,
    head: Head | InteractionConfig,
    *,
    normalize: bool = True,
    top_k: int = 256,
) -> onnx.ModelProto:
    """Build the ONNX graph of a BERT encoder with one of six heads.

    The inputs are ``input_ids``, ``attention_mask`` and ``token_type_ids``, all int64 ``[batch, seq]``.
    The outputs depend on the head: ``mean_pool``, ``cls_pool`` and ``last_token_pool`` give ``embedding``
    ``[batch, hidden]``, ``splade_topk`` gives ``indices`` (int64) and ``values`` ``[batch, top_k]``, largest first,
    and ``classify`` and an ``InteractionConfig`` give the raw logit ``score`` ``[batch, 1]``.

    Args:
        weights: The safetensors file.
        config: The shape of the encoder.
        head: What follows the encoder.
        normalize: Whether an ``embedding`` is scaled to length one.
        top_k: How many terms ``splade_topk`` keeps.

    Returns:
        The model, the same bytes for the same arguments.

    Raises:
        ModelBuildError: A tensor is missing or has another shape, or the architecture is not supported.
    """
    from onnx import TensorProto, checker, helper

    _check_supported(config, head, top_k)
    graph = BertGraph(BertWeights(weights), config)
    if isinstance(head, InteractionConfig):
        outputs = bert_interaction.interaction(graph, head)
    else:
        outputs = _head(graph, graph.encoder(), head, normalize, top_k)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    domains = {"": OPSET} | ({RUNTIME_DOMAIN: 1} if config.fused else {})
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(graph.nodes, "bert", inputs, outputs, list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
        ir_version=IR_VERSION,
        producer_name="embedder-assets",
    )
    checker.check_model(model)
    return model


def _head(graph: BertGraph, hidden: str, head: Head, normalize: bool, top_k: int) -> list[onnx.ValueInfoProto]:
    if head == "splade_topk":
        return bert_heads.splade_topk(graph, hidden, top_k)
    if head == "classify":
        return bert_heads.classify(graph, hidden)
    pools = {
        "mean_pool": bert_heads.mean_pool,
        "cls_pool": bert_heads.cls_pool,
        "last_token_pool": bert_heads.last_token_pool,
    }
    return pools[head](graph, hidden, normalize=normalize)


def _check_supported(config: BertConfig, head: str | InteractionConfig, top_k: int) -> None:
    if isinstance(head, str) and head not in get_args(Head):
        raise ModelBuildError(
            "head",
            expected=f"one of {', '.join(get_args(Head))}",
            got=repr(head),
            remedy="Name one of these heads.",
        )
    if config.hidden_act != "gelu":
        raise ModelBuildError(
            "hidden_act",
            expected="gelu (the exact one)",
            got=repr(config.hidden_act),
            remedy="Use a BERT model with that activation, or export this one with its own tools.",
        )
    if config.hidden_size % config.num_attention_heads:
        raise ModelBuildError(
            "num_attention_heads",
            expected=f"a divisor of hidden_size {config.hidden_size}",
            got=str(config.num_attention_heads),
            remedy="Check config.json against the model's own documentation.",
        )
    if head == "splade_topk" and not 1 <= top_k <= config.vocab_size:
        raise ModelBuildError(
            "top_k",
            expected=f"1 to {config.vocab_size} (the vocabulary)",
            got=str(top_k),
            remedy="Choose a number of terms in that range.",
        )
