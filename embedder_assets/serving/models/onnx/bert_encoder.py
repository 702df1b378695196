"""The encoder of a BERT model as ONNX nodes, and the tensors that it is made of.

Every weight is an initializer of a ``MatMul``, which is where dynamic quantization looks for it.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder_assets.errors import ModelBuildError

if TYPE_CHECKING:
    import onnx

# Large enough to silence a token in the softmax, small enough that adding a score to it cannot overflow.
MASKED = -1e9
# Of the operators that ONNX Runtime has in addition to the standard.
RUNTIME_DOMAIN = "com.microsoft"
CONFIG_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a name"),
}
# Types of safetensors; those of fewer than 8 bits or of 8 bits with a point are quantized weights.
NUMPY_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"},
}


@dataclass(frozen=True)
class BertConfig:
    """The numbers that fix the shape of a BERT encoder, and how it is written.

    Attributes:
        hidden_size: Width of a token's vector.
        num_hidden_layers: Number of transformer layers.
        num_attention_heads: Attention heads in a layer.
        intermediate_size: Width of the feed-forward part.
        max_position_embeddings: Longest sequence the encoder can take.
        vocab_size: Number of entries of the vocabulary.
        layer_norm_eps: Epsilon of every layer normalisation.
        hidden_act: Name of the activation function; only ``gelu`` (the exact one) is supported.
        fused: Whether attention is written as one operator that only ONNX Runtime has, for the CPU. Not of a
            ``config.json``.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    fused: bool = False

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
        names = [field.name for field in fields(cls) if field.default is MISSING]
        missing = [name for name in names if name not in raw]
        if missing:
            raise ModelBuildError(
                str(path),
                expected="the configuration of a BERT encoder",
                got=f"no {', '.join(missing)}",
                remedy="Use a model of the BERT architecture.",
            )
        _require_types(
            path, {field.name: (str(field.type), raw[field.name]) for field in fields(cls) if field.name in names}
        )
        if raw.get("position_embedding_type", "absolute") != "absolute":
            raise ModelBuildError(
                str(path),
                expected="absolute position embeddings",
                got=f"position_embedding_type {raw['position_embedding_type']!r}",
                remedy="Use a BERT model with absolute positions, or export this one with its own tools.",
            )
        return cls(**{name: raw[name] for name in names})


class BertWeights:
    """The tensors of a safetensors file by their canonical BERT name.

    Files spell the same tensor with or without the prefix ``bert.``, and old ones say gamma and beta.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tensors = _load_tensors(path)
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
        if found[0].dtype.kind != "f":
            raise self._error(name, "floating point numbers", f"{found[0].dtype} (quantized weights, perhaps)")
        return np.ascontiguousarray(found[0], dtype=np.float32)

    def _error(self, name: str, expected: str, got: str) -> ModelBuildError:
        return ModelBuildError(
            f"{name} in {self._path}",
            expected=expected,
            got=got,
            remedy=_remedy(name),
        )

    @staticmethod
    def _spellings(name: str) -> list[str]:
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        return [prefix + spelling for spelling in (name, old) for prefix in ("", "bert.")]


def _require_types(path: Path, fields: dict[str, tuple[str, Any]]) -> None:
    for name, (kind, value) in fields.items():
        types, expected = CONFIG_TYPES[kind]
        if not isinstance(value, types):
            raise ModelBuildError(
                f"{name} in {path}",
                expected=expected,
                got=repr(value),
                remedy="Fetch the model again, or use a model of the BERT architecture.",
            )


def _remedy(name: str) -> str:
    if name.startswith("cls."):
        return "A sparse model needs the masked-LM head: use a BertForMaskedLM that was trained as SPLADE."
    if name.startswith(("classifier.", "pooler.")):
        return (
            "A reranker needs pooler and classifier with one logit: use a BertForSequenceClassification, num_labels 1."
        )
    return "Use weights that belong to this config.json."


def _load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file; bfloat16, which numpy lacks, as float32."""
    from safetensors import deserialize

    stored = dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    return {
        name: _as_array(tensor["dtype"], tensor["data"]).reshape(tensor["shape"]) for name, tensor in stored.items()
    }


def _as_array(kind: str, data: bytes) -> NDArray[Any]:
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    if kind not in NUMPY_TYPES:
        raise TypeError(f"weights of type {kind}")
    return np.frombuffer(data, NUMPY_TYPES[kind])


class BertGraph:
    """Nodes and initializers of a graph under construction; the methods return the names of their results."""

    def __init__(self, weights: BertWeights, config: BertConfig) -> None:
        self.weights = weights
        self.config = config
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """A node with one output, which has the node's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{name}/{op}", **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """An initializer; the first value of a name stays."""
        from onnx import numpy_helper

        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        """A constant of int64 [n]."""
        return self.constant(f"ints_{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def floats(self, name: str, value: float) -> str:
        """A scalar constant of float32."""
        return self.constant(name, np.array(value, dtype=np.float32))

    def linear(self, x: str, name: str, width_in: int, width_out: int) -> str:
        """A linear layer of the checkpoint."""
        weight = self.weights.get(f"{name}.weight", width_out, width_in)
        product = self.matmul(x, f"{name}.weight_t", weight, f"{name}.product")
        bias = self.constant(f"{name}.bias", self.weights.get(f"{name}.bias", width_out))
        return self.node("Add", [product, bias], name)

    def matmul(self, x: str, weight_name: str, weight: NDArray[np.float32], name: str) -> str:
        """A product with a weight of shape [out, in]."""
        return self.node("MatMul", [x, self.constant(weight_name, np.ascontiguousarray(weight.T))], name)

    def layer_norm(self, x: str, name: str) -> str:
        """A layer normalization of the checkpoint."""
        size = self.config.hidden_size
        scale = self.constant(f"{name}.weight", self.weights.get(f"{name}.weight", size))
        bias = self.constant(f"{name}.bias", self.weights.get(f"{name}.bias", size))
        return self.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=self.config.layer_norm_eps)

    def encoder(self) -> str:
        """The token vectors [batch, seq, hidden]; also makes ``mask``, the attention mask as float32."""
        bias = self.attention_bias()
        x = self.embeddings()
        for layer in range(self.config.num_hidden_layers):
            x = self.layer(x, x, bias, f"encoder.layer.{layer}")
        return x

    def attention_bias(self) -> str:
        """What is added to attention scores, [batch, 1, 1, seq]; also makes ``mask``.

        A fused graph adds nothing; it gets ``mask_int32`` and ``unpadded``, whether no token is masked.
        """
        from onnx import TensorProto

        mask = self.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        if self.config.fused:
            least = self.node("ReduceMin", ["attention_mask"], "mask_least", keepdims=0)
            self.node("Cast", [least], "unpadded", to=TensorProto.BOOL)
            return self.node("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
        inverse = self.node("Sub", [self.floats("one", 1.0), mask], "mask_inverse")
        bias = self.node("Mul", [inverse, self.floats("masked", MASKED)], "mask_bias_2d")
        return self.node("Unsqueeze", [bias, self.ints(1, 2)], "mask_bias")

    def embeddings(self) -> str:
        """Word, type and position embeddings, summed and normalized."""
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

    def layer(self, x: str, memory: str, bias: str, name: str) -> str:
        """One transformer layer: the tokens ``x`` attend to the tokens ``memory``, both [batch, …, hidden]."""
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        attended = self.attention(x, memory, bias, f"{name}.attention.self")
        attended = self.linear(attended, f"{name}.attention.output.dense", hidden, hidden)
        attended = self.node("Add", [attended, x], f"{name}.attention.residual")
        attended = self.layer_norm(attended, f"{name}.attention.output.LayerNorm")
        wide = self.linear(attended, f"{name}.intermediate.dense", hidden, inner)
        wide = self.node("Gelu", [wide], f"{name}.intermediate.gelu")
        out = self.linear(wide, f"{name}.output.dense", inner, hidden)
        out = self.node("Add", [out, attended], f"{name}.residual")
        return self.layer_norm(out, f"{name}.output.LayerNorm")

    def attention(self, x: str, memory: str, bias: str, name: str) -> str:
        """Multi-head attention of ``x`` to ``memory``; ``bias`` silences masked tokens of the latter."""
        hidden = self.config.hidden_size
        width = hidden // self.config.num_attention_heads
        projected = [
            self.linear(tokens, f"{name}.{kind}", hidden, hidden)
            for tokens, kind in ((x, "query"), (memory, "key"), (memory, "value"))
        ]
        if self.config.fused:
            return self._fused(projected, f"{name}.joined")

        def heads(tokens: str, perm: list[int]) -> str:
            shape = self.ints(0, 0, self.config.num_attention_heads, width)
            split = self.node("Reshape", [tokens, shape], f"{tokens}.split")
            return self.node("Transpose", [split], f"{tokens}.heads", perm=perm)

        query, key, value = map(heads, projected, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        scores = self.node("MatMul", [query, key], f"{name}.scores")
        scores = self.node("Mul", [scores, self.floats("scale", 1 / math.sqrt(width))], f"{name}.scaled")
        scores = self.node("Add", [scores, bias], f"{name}.masked")
        probabilities = self.node("Softmax", [scores], f"{name}.probabilities", axis=-1)
        mixed = self.node("MatMul", [probabilities, value], f"{name}.mixed")
        mixed = self.node("Transpose", [mixed], f"{name}.mixed_t", perm=[0, 2, 1, 3])
        return self.node("Reshape", [mixed, self.ints(0, 0, hidden)], f"{name}.joined")

    def _fused(self, projected: list[str], name: str) -> str:
        """Attention of projected queries to keys and values, all [batch, …, hidden], by one operator.

        Without a mask ONNX Runtime takes a kernel that keeps the scores in the cache. So a batch without padding, which
        one text always is, goes without; the other branch masks (docs/adr/0019).
        """
        from onnx import TensorProto, helper

        hidden, heads = self.config.hidden_size, self.config.num_attention_heads

        def branch(kind: str, mask: list[str]) -> onnx.GraphProto:
            node = helper.make_node(
                "MultiHeadAttention",
                [*projected, *mask],
                [f"{name}.{kind}"],
                name=f"{name}.{kind}/MultiHeadAttention",
                domain=RUNTIME_DOMAIN,
                num_heads=heads,
                scale=1 / math.sqrt(hidden // heads),
            )
            output = helper.make_tensor_value_info(f"{name}.{kind}", TensorProto.FLOAT, [None, None, hidden])
            return helper.make_graph([node], f"{name}.{kind}", [], [output])

        # The fourth input is a bias, which the projections have added.
        return self.node(
            "If", ["unpadded"], name, then_branch=branch("whole", []), else_branch=branch("masked", ["", "mask_int32"])
        )

    def topk(self, x: str, top_k: int) -> None:
        """The largest ``top_k`` entries of the last axis, as the graph's outputs ``values`` and ``indices``."""
        from onnx import helper

        outputs = ["values", "indices"]
        self.nodes.append(
            helper.make_node("TopK", [x, self.ints(top_k)], outputs, name="splade/TopK", axis=-1, largest=1, sorted=1)
        )
