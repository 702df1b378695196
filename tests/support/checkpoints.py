"""Makes small checkpoints as sentence-transformers and transformers save them, without either."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from embedder_assets.serving.models.onnx.bert_encoder import BertConfig

WORDS = [
    "how",
    "do",
    "i",
    "a",
    "model",
    "from",
    "the",
    "server",
    "to",
    "call",
    "it",
    "text",
    "query",
    "passage",
    "whale",
    "sea",
    "bread",
    ":",
    ".",
    "?",
    "!",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CONFIG = BertConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
    vocab_size=len(SPECIAL) + len(WORDS) + 26,
    layer_norm_eps=1e-12,
    hidden_act="gelu",
)
INTERACTION: dict[str, Any] = {"joint_layers": 1, "projection_size": 8, "special_token_ids": [2, 3]}


def random_weights(c: BertConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Every tensor of a BERT with all heads."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (c.vocab_size, c.hidden_size),
        "embeddings.position_embeddings.weight": (c.max_position_embeddings, c.hidden_size),
        "embeddings.token_type_embeddings.weight": (2, c.hidden_size),
        "cls.predictions.bias": (c.vocab_size,),
        "interaction.projection.weight": (INTERACTION["projection_size"], c.hidden_size),
        "interaction.state_scale": (1,),
        "interaction.word_scale": (1,),
    }
    linears = {
        "pooler.dense": (c.hidden_size, c.hidden_size),
        "classifier": (1, c.hidden_size),
        **dict.fromkeys(
            ("token_classifier", "token_gate", "interaction.state_gate", "interaction.word_gate"), (1, c.hidden_size)
        ),
        "cls.predictions.transform.dense": (c.hidden_size, c.hidden_size),
    }
    norms = ["embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for i in range(c.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linears[f"{layer}.attention.{part}"] = (c.hidden_size, c.hidden_size)
        linears[f"{layer}.intermediate.dense"] = (c.intermediate_size, c.hidden_size)
        linears[f"{layer}.output.dense"] = (c.hidden_size, c.intermediate_size)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (c.hidden_size,), f"{name}.bias": (c.hidden_size,)}
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def write_tokenizer(path: Path, *, lowercase: bool = True) -> None:
    """A WordPiece tokenizer with [CLS] and [SEP]; unknown words fall apart into letters."""
    pieces = [*SPECIAL, *WORDS, *(f"##{chr(letter)}" for letter in range(97, 123))]
    tokenizer = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))


def write_checkpoint(folder: Path, *, below: str = "", lowercase: bool = True, **config: Any) -> Path:
    """A transformers checkpoint of a BERT with every head, in a folder or in a sub-folder of it."""
    place = folder / below
    place.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(CONFIG), place / "model.safetensors")
    said = {"model_type": "bert", "id2label": {"0": "LABEL_0"}, **dataclasses.asdict(CONFIG)}
    said |= {"interaction": INTERACTION, **config}
    write_json(place / "config.json", said)
    write_tokenizer(place / "tokenizer.json", lowercase=lowercase)
    return folder


def write_modules(folder: Path, *kinds: str, below: str = "", pooling: dict[str, Any] | None = None) -> Path:
    """Makes a checkpoint a sentence-transformers folder with these modules after the transformer."""
    modules = [{"idx": 0, "name": "0", "path": below, "type": "sentence_transformers.models.Transformer"}]
    for at, kind in enumerate(kinds, start=1):
        modules.append(
            {"idx": at, "name": str(at), "path": f"{at}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        )
        write_json(folder / f"{at}_{kind}" / "config.json", pooling or {"pooling_mode_mean_tokens": True})
    write_json(folder / "modules.json", modules)
    return folder


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def edit_weights(folder: Path, **changed: np.ndarray | None) -> None:
    """Replaces tensors of a checkpoint, or removes them (None); ``__`` stands for a dot."""
    tensors = random_weights(CONFIG) | {name.replace("__", "."): tensor for name, tensor in changed.items()}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors")


def write_description(repository: Path, name: str, checkpoint: Path, **fields: Any) -> Path:
    """The folder of a local model with its ``model.toml``; dense by default."""
    import tomlkit

    folder = repository / name
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"name": name, "stage": "dense", "license": "MIT", "pooling": "mean", "max_tokens": 32, "dimension": 32}
    source = {
        "kind": "local",
        "path": str(checkpoint),
        "sha256": sha256_of(checkpoint, "model.safetensors"),
        "tokenizer_sha256": sha256_of(checkpoint, "tokenizer.json"),
        "config_sha256": hashlib.sha256(_config(checkpoint).read_bytes()).hexdigest(),
    }
    (folder / "model.toml").write_text(tomlkit.dumps({"source": source, **usual, **fields}), "utf-8")
    return folder


def _config(checkpoint: Path) -> Path:
    """That of the weights: a pooling has a ``config.json`` too."""
    return next(checkpoint.rglob("model.safetensors")).with_name("config.json")


def sha256_of(checkpoint: Path, name: str) -> str:
    return hashlib.sha256(next(checkpoint.rglob(name)).read_bytes()).hexdigest()


def write_sparse_model(repository: Path, name: str = "sparse_splade", dimension: int = 4) -> Path:
    """The folder of a sparse model that was never built: its description, and the tokenizer of ``write_tokenizer``."""
    checkpoint = write_checkpoint(repository / name / "checkpoint")
    folder = write_description(
        repository, name, checkpoint, stage="sparse", pooling="splade_max", dimension=dimension, max_tokens=32
    )
    write_tokenizer(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
