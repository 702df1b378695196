"""BERT encoders as ONNX graphs, written straight from their safetensors without torch.

Every weight is an initializer of a ``MatMul``, which is where dynamic quantization looks for it.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from embedder_assets.errors import ModelBuildError

if TYPE_CHECKING:
    import onnx

Head: TypeAlias = Literal["mean_pool", "splade_topk", "classify"]

OPSET = 20
IR_VERSION = 9
# Large enough to silence a token in the softmax, small enough that adding a score to it cannot overflow.
MASKED = -1e9


@dataclass(frozen=True)
class BertConfig:
    """The numbers that fix the shape of a BERT encoder.

    Attributes:
        hidden_size: Width of a token's vector.
        num_hidden_layers: Number of transformer layers.
        num_attention_heads: Attention heads in a layer.
        intermediate_size: Width of the feed-forward part.
        max_position_embeddings: Longest sequence the encoder can take.
        vocab_size: Number of entries of the vocabulary.
        layer_norm_eps: Epsilon of every layer normalisation.
        hidden_act: Name of the activation function; only ``gelu`` (the exact one) is supported.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    vocab_size: int
    layer_norm_eps: float
    hidden_act: str

    @classmethod
    def from_file(cls, path: Path) -> BertConfig:
        """Read a Hugging Face ``config.json``.

        Args:
            path: The file.

        Returns:
            The configuration.

        Raises:
            ModelBuildError: The file cannot be read, lacks a number or describes another kind of encoder.
        """
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelBuildError(
                str(path),
                expected="a model configuration in JSON",
                got=str(error),
                remedy="Fetch the model again, or point to the folder that holds its config.json.",
            ) from error
        missing = [field.name for field in fields(cls) if field.name not in raw]
        if missing:
            raise ModelBuildError(
                str(path),
                expected="the configuration of a BERT encoder",
                got=f"no {', '.join(missing)}",
                remedy="Use a model of the BERT architecture.",
            )
        if raw.get("position_embedding_type", "absolute") != "absolute":
            raise ModelBuildError(
                str(path),
                expected="absolute position embeddings",
                got=f"position_embedding_type {raw['position_embedding_type']!r}",
                remedy="Use a BERT model with absolute positions, or export this one with its own tools.",
            )
        return cls(**{field.name: raw[field.name] for field in fields(cls)})


def build_bert_onnx(
    weights: Path,
    config: BertConfig,
    head: Head,
    *,
    normalize: bool = True,
    top_k: int = 256,
) -> onnx.ModelProto:
    """Build the ONNX graph of a BERT encoder with one of three heads.

    The inputs are ``input_ids``, ``attention_mask`` and ``token_type_ids``, all int64 ``[batch, seq]``.
    The outputs depend on the head: ``mean_pool`` gives ``embedding`` ``[batch, hidden]``, ``splade_topk``
    gives ``indices`` (int64) and ``values`` ``[batch, top_k]``, largest first, and ``classify`` gives the raw
    logit ``score`` ``[batch, 1]``.

    Args:
        weights: The safetensors file.
        config: The shape of the encoder.
        head: What follows the encoder.
        normalize: Whether ``mean_pool`` scales its vectors to length one.
        top_k: How many terms ``splade_topk`` keeps.

    Returns:
        The model, the same bytes for the same arguments.

    Raises:
        ModelBuildError: A tensor is missing or has another shape, or the architecture is not supported.
    """
    from onnx import TensorProto, checker, helper

    _check_supported(config, head, top_k)
    graph = _Graph(_Weights(weights), config)
    hidden = graph.encoder()
    if head == "mean_pool":
        outputs = graph.mean_pool(hidden, normalize=normalize)
    elif head == "splade_topk":
        outputs = graph.splade_topk(hidden, top_k)
    else:
        outputs = graph.classify(hidden)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(graph.nodes, f"bert_{head}", inputs, outputs, list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="embedder-assets",
    )
    checker.check_model(model)
    return model


def quantize_int8(source: Path, target: Path) -> None:
    """Write a copy of a model whose weights are int8 and whose activations are quantized on the fly.

    The same source and the same library version give the same bytes.

    Args:
        source: The float32 model.
        target: Where the int8 model goes; its folder must exist.

    Raises:
        ModelBuildError: The model cannot be read or quantized.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    # The quantizer warns on the root logger that no pre-processing ran; these graphs need none.
    root.setLevel(logging.ERROR)
    try:
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)
    except Exception as error:
        raise ModelBuildError(
            str(source),
            expected="an ONNX model that can be quantized",
            got=f"{type(error).__name__}: {error}",
            remedy="Build the float32 model again, then repeat.",
        ) from error
    finally:
        root.setLevel(level)


def _check_supported(config: BertConfig, head: str, top_k: int) -> None:
    if head not in get_args(Head):
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


class _Weights:
    """The tensors of a safetensors file by their canonical BERT name.

    Files spell the same tensor with or without the prefix ``bert.``, and old ones say gamma and beta.
    """

    def __init__(self, path: Path) -> None:
        from safetensors.numpy import load_file

        self._path = path
        try:
            self._tensors: dict[str, NDArray[Any]] = load_file(path)
        except Exception as error:
            raise ModelBuildError(
                str(path),
                expected="model weights as safetensors",
                got=f"{type(error).__name__}: {error}",
                remedy="Fetch the model again, or point to the folder that holds its model.safetensors.",
            ) from error

    def __contains__(self, name: str) -> bool:
        return any(spelling in self._tensors for spelling in self._spellings(name))

    def get(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return a tensor as float32, or say what is wrong with it."""
        found = [self._tensors[spelling] for spelling in self._spellings(name) if spelling in self._tensors]
        if not found:
            raise self._error(name, "the tensor", "none of that name")
        if found[0].shape != shape:
            raise self._error(name, f"shape {list(shape)}", f"shape {list(found[0].shape)}")
        return np.ascontiguousarray(found[0], dtype=np.float32)

    def _error(self, name: str, expected: str, got: str) -> ModelBuildError:
        return ModelBuildError(
            f"{name} in {self._path}",
            expected=expected,
            got=got,
            remedy="Use weights that belong to this config.json and hold the head that is asked for.",
        )

    @staticmethod
    def _spellings(name: str) -> list[str]:
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return [prefix + spelling for spelling in (name, old) for prefix in ("", "bert.")]


class _Graph:
    """Nodes and initializers of a graph under construction; the methods return the names of their results."""

    def __init__(self, weights: _Weights, config: BertConfig) -> None:
        self.weights = weights
        self.config = config
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{name}/{op}", **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(f"ints_{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def floats(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))

    def linear(self, x: str, name: str, width_in: int, width_out: int) -> str:
        weight = self.weights.get(f"{name}.weight", width_out, width_in)
        product = self.matmul(x, f"{name}.weight_t", weight, f"{name}.product")
        bias = self.constant(f"{name}.bias", self.weights.get(f"{name}.bias", width_out))
        return self.node("Add", [product, bias], name)

    def matmul(self, x: str, weight_name: str, weight: NDArray[np.float32], name: str) -> str:
        return self.node("MatMul", [x, self.constant(weight_name, np.ascontiguousarray(weight.T))], name)

    def layer_norm(self, x: str, name: str) -> str:
        size = self.config.hidden_size
        scale = self.constant(f"{name}.weight", self.weights.get(f"{name}.weight", size))
        bias = self.constant(f"{name}.bias", self.weights.get(f"{name}.bias", size))
        return self.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=self.config.layer_norm_eps)

    def encoder(self) -> str:
        from onnx import TensorProto

        mask = self.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        inverse = self.node("Sub", [self.floats("one", 1.0), mask], "mask_inverse")
        bias = self.node("Mul", [inverse, self.floats("masked", MASKED)], "mask_bias_2d")
        bias = self.node("Unsqueeze", [bias, self.ints(1, 2)], "mask_bias")
        x = self.embeddings()
        for layer in range(self.config.num_hidden_layers):
            x = self.layer(x, bias, f"encoder.layer.{layer}")
        return x

    def embeddings(self) -> str:
        c = self.config

        def table(kind: str, rows: int) -> str:
            name = f"embeddings.{kind}_embeddings.weight"
            return self.constant(name, self.weights.get(name, rows, c.hidden_size))

        words = self.node("Gather", [table("word", c.vocab_size), "input_ids"], "embeddings.words")
        types = self.node("Gather", [table("token_type", 2), "token_type_ids"], "embeddings.types")
        # A Slice with 1-D bounds, not Range and Gather: ONNX Runtime rewrites those into a Slice that fails.
        length = self.node("Shape", ["input_ids"], "length", start=1, end=2)
        bounds = [table("position", c.max_position_embeddings), self.ints(0), length, self.ints(0)]
        positions = self.node("Slice", bounds, "embeddings.positions")
        x = self.node("Add", [words, types], "embeddings.words_types")
        x = self.node("Add", [x, positions], "embeddings.sum")
        return self.layer_norm(x, "embeddings.LayerNorm")

    def layer(self, x: str, bias: str, name: str) -> str:
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        attended = self.attention(x, bias, f"{name}.attention.self")
        attended = self.linear(attended, f"{name}.attention.output.dense", hidden, hidden)
        attended = self.node("Add", [attended, x], f"{name}.attention.residual")
        attended = self.layer_norm(attended, f"{name}.attention.output.LayerNorm")
        wide = self.linear(attended, f"{name}.intermediate.dense", hidden, inner)
        wide = self.node("Gelu", [wide], f"{name}.intermediate.gelu")
        out = self.linear(wide, f"{name}.output.dense", inner, hidden)
        out = self.node("Add", [out, attended], f"{name}.residual")
        return self.layer_norm(out, f"{name}.output.LayerNorm")

    def attention(self, x: str, bias: str, name: str) -> str:
        hidden = self.config.hidden_size
        width = hidden // self.config.num_attention_heads

        def heads(kind: str, perm: list[int]) -> str:
            projected = self.linear(x, f"{name}.{kind}", hidden, hidden)
            shape = self.ints(0, 0, self.config.num_attention_heads, width)
            split = self.node("Reshape", [projected, shape], f"{name}.{kind}.split")
            return self.node("Transpose", [split], f"{name}.{kind}.heads", perm=perm)

        query, key, value = (
            heads("query", [0, 2, 1, 3]),
            heads("key", [0, 2, 3, 1]),
            heads("value", [0, 2, 1, 3]),
        )
        scores = self.node("MatMul", [query, key], f"{name}.scores")
        scores = self.node("Mul", [scores, self.floats("scale", 1 / math.sqrt(width))], f"{name}.scaled")
        scores = self.node("Add", [scores, bias], f"{name}.masked")
        probabilities = self.node("Softmax", [scores], f"{name}.probabilities", axis=-1)
        mixed = self.node("MatMul", [probabilities, value], f"{name}.mixed")
        mixed = self.node("Transpose", [mixed], f"{name}.mixed_t", perm=[0, 2, 1, 3])
        return self.node("Reshape", [mixed, self.ints(0, 0, hidden)], f"{name}.joined")

    def mean_pool(self, hidden: str, *, normalize: bool) -> list[onnx.ValueInfoProto]:
        column = self.node("Unsqueeze", ["mask", self.ints(2)], "pool.mask")
        kept = self.node("Mul", [hidden, column], "pool.kept")
        total = self.node("ReduceSum", [kept, self.ints(1)], "pool.total", keepdims=0)
        count = self.node("ReduceSum", ["mask", self.ints(1)], "pool.count", keepdims=1)
        count = self.node("Max", [count, self.floats("pool.least", 1e-9)], "pool.count_safe")
        mean = self.node("Div", [total, count], "pool.mean" if normalize else "embedding")
        if normalize:
            length = self.node("ReduceL2", [mean, self.ints(1)], "pool.length", keepdims=1)
            length = self.node("Max", [length, self.floats("pool.shortest", 1e-12)], "pool.length_safe")
            self.node("Div", [mean, length], "embedding")
        return [_output("embedding", self.config.hidden_size)]

    def splade_topk(self, hidden: str, top_k: int) -> list[onnx.ValueInfoProto]:
        c = self.config
        x = self.linear(hidden, "cls.predictions.transform.dense", c.hidden_size, c.hidden_size)
        x = self.node("Gelu", [x], "cls.predictions.transform.gelu")
        x = self.layer_norm(x, "cls.predictions.transform.LayerNorm")
        x = self.without_masked(x)
        tied = "embeddings.word_embeddings.weight"
        decoder = "cls.predictions.decoder.weight"
        weight = self.weights.get(decoder if decoder in self.weights else tied, c.vocab_size, c.hidden_size)
        logits = self.matmul(x, f"{decoder}_t", weight, "cls.predictions.decoder")
        # The bias is the same for every token and log(1+relu(x)) is monotone: both can follow the maximum,
        # where they touch one row a text and not one a token.
        peak = self.node("ReduceMax", [logits, self.ints(1)], "splade.peak", keepdims=0)
        bias = self.constant("cls.predictions.bias", self.weights.get("cls.predictions.bias", c.vocab_size))
        peak = self.node("Add", [peak, bias], "splade.biased")
        peak = self.node("Relu", [peak], "splade.relu")
        peak = self.node("Add", [peak, self.floats("one", 1.0)], "splade.plus_one")
        peak = self.node("Log", [peak], "splade.weights")
        self.topk(peak, top_k)
        from onnx import TensorProto

        return [_output("indices", top_k, TensorProto.INT64), _output("values", top_k)]

    def topk(self, x: str, top_k: int) -> None:
        from onnx import helper

        outputs = ["values", "indices"]
        self.nodes.append(
            helper.make_node("TopK", [x, self.ints(top_k)], outputs, name="splade/TopK", axis=-1, largest=1, sorted=1)
        )

    def without_masked(self, x: str) -> str:
        """Put the first real token in the place of masked ones: the maximum over tokens then ignores them.

        This touches ``hidden_size`` numbers a token; a bias on the logits would touch the whole vocabulary.
        """
        from onnx import TensorProto

        first = self.node("ArgMax", ["attention_mask"], "splade.first", axis=1, keepdims=1)
        stand_in = self.node("GatherND", [x, first], "splade.stand_in_2d", batch_dims=1)
        stand_in = self.node("Unsqueeze", [stand_in, self.ints(1)], "splade.stand_in")
        kept = self.node("Cast", ["attention_mask"], "splade.kept_2d", to=TensorProto.BOOL)
        kept = self.node("Unsqueeze", [kept, self.ints(2)], "splade.kept")
        return self.node("Where", [kept, x, stand_in], "splade.tokens")

    def classify(self, hidden: str) -> list[onnx.ValueInfoProto]:
        size = self.config.hidden_size
        first = self.node("Gather", [hidden, self.constant("zero", np.array(0, dtype=np.int64))], "cls", axis=1)
        pooled = self.node("Tanh", [self.linear(first, "pooler.dense", size, size)], "pooler")
        logit = self.linear(pooled, "classifier", size, 1)
        self.node("Identity", [logit], "score")
        return [_output("score", 1)]


def _output(name: str, width: int, kind: int | None = None) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT if kind is None else kind, ["batch", width])
