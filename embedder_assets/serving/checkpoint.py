"""A checkpoint folder of sentence-transformers or transformers: what is in it, and whether it can be built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models import ModelDescription, Pooling

SOURCE_FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Formats whose readers run code that the file brings.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
OTHER_WEIGHTS = (".safetensors", ".index.json", ".onnx", ".h5", ".msgpack", ".gguf")
# An ONNX file cannot be larger.
LARGEST_GRAPH_BYTES = 2**31 - 2**24
PLAIN_BERT = {"hidden_act": "gelu", "position_embedding_type": "absolute", "type_vocab_size": 2, "is_decoder": False}
# Their positions start after the padding token's.
SHIFTED_POSITIONS = ("camembert", "mpnet", "roberta", "xlm-roberta")
POOLING_SWITCHES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last_token",
}
POOLING_WORDS: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last_token"}


@dataclass(frozen=True)
class Checkpoint:
    """A readable checkpoint.

    Attributes:
        folder: The folder as it was named, with ``modules.json`` if it has one.
        weights_folder: The folder of ``config.json`` and ``model.safetensors``: ``folder``, or one below it.
        config: The content of ``config.json``.
        modules: Class name to folder of the sentence-transformers modules, empty without ``modules.json``.
    """

    folder: Path
    weights_folder: Path
    config: dict[str, Any]
    modules: dict[str, Path]

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.weights_folder / "model.safetensors"

    @property
    def tokenizer(self) -> Path:
        """The ``tokenizer.json``, beside the weights or above them."""
        beside = self.weights_folder / "tokenizer.json"
        return beside if beside.exists() else self.folder / "tokenizer.json"

    @property
    def architecture(self) -> str:
        """The model type of transformers, such as ``bert`` or ``xlm-roberta``."""
        return str(self.config.get("model_type", "bert"))

    @property
    def oddities(self) -> list[str]:
        """What sets it apart from the plain BERT that our own writer knows; empty for such a one."""
        if self.architecture != "bert":
            return [f"architecture '{self.architecture}'"]
        said = {name: self.config.get(name, usual) for name, usual in PLAIN_BERT.items()}
        return [f"{name} {value!r}" for name, value in said.items() if value != PLAIN_BERT[name]]

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """Tensor name to shape, from the header of the weights."""
        from safetensors import safe_open

        try:
            with safe_open(self.weights, "np") as tensors:
                return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
        except Exception as error:
            raise ModelBuildError(
                str(self.weights),
                expected="model weights as safetensors",
                got=f"{type(error).__name__}: {error}",
                remedy="Fetch the model again.",
            ) from error

    @property
    def longest_input(self) -> int:
        """Tokens that the position embeddings allow, special tokens included."""
        positions = int(self.config.get("max_position_embeddings", 512))
        return positions - 2 if self.architecture in SHIFTED_POSITIONS else positions

    def pooling(self) -> Pooling | None:
        """What the sentence-transformers modules say, or None when there are none.

        Raises:
            ModelBuildError: It is a kind that this project does not have.
        """
        if "SpladePooling" in self.modules:
            return self._splade_pooling()
        if "Pooling" not in self.modules:
            return None
        path = self.modules["Pooling"] / "config.json"
        said = read_json(path)
        chosen = [word for word in str(said.get("pooling_mode", "")).split("+") if word]
        chosen += [name for name, on in said.items() if name.startswith("pooling_mode_") and on]
        known = POOLING_WORDS | POOLING_SWITCHES
        if len(chosen) != 1 or chosen[0] not in known:
            raise _unsupported(
                str(path), f"one of the poolings {', '.join(POOLING_WORDS)}", ", ".join(chosen) or "none"
            )
        if said.get("include_prompt") is False and any(self.prompts.values()):
            raise _unsupported(str(path), "include_prompt = true: prefixes are pooled as text", "false")
        return known[chosen[0]]

    def _splade_pooling(self) -> Pooling:
        path = self.modules["SpladePooling"] / "config.json"
        said = read_json(path)
        got = (said.get("pooling_strategy", "max"), said.get("activation_function", "relu"))
        if got != ("max", "relu"):
            raise _unsupported(str(path), "the strategy max with relu", " with ".join(got))
        return "splade_max"

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt name to text, of sentence-transformers."""
        said = read_json(self.folder / "config_sentence_transformers.json", optional=True)
        return {name: str(text) for name, text in (said.get("prompts") or {}).items()}

    @property
    def lowercases(self) -> bool:
        """Whether sentence-transformers itself makes texts lower case before the tokenizer sees them."""
        return bool(self._text_options.get("do_lower_case"))

    @property
    def max_tokens(self) -> int:
        """The longest input that the checkpoint recommends."""
        tokenizer = read_json(self.weights_folder / "tokenizer_config.json", optional=True)
        said = [self._text_options.get("max_seq_length"), tokenizer.get("model_max_length"), self.longest_input]
        # Without a limit transformers writes 10^30.
        return min(int(number) for number in said if number)

    @property
    def _text_options(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for folder in (self.folder, self.weights_folder):
            said |= read_json(folder / "sentence_bert_config.json", optional=True)
        return said


def read_checkpoint(folder: Path) -> Checkpoint:
    """Finds the files of a checkpoint folder.

    Raises:
        ModelBuildError: A file is missing, or a sentence-transformers module is not supported.
    """
    if not folder.is_dir():
        raise ModelBuildError(
            f"checkpoint {folder}", expected="a folder", got="none", remedy="Correct the path in model.toml."
        )
    modules = _read_modules(folder)
    weights_folder = modules.get("Transformer", modules.get("MLMTransformer", folder))
    _require_files(folder, weights_folder)
    return Checkpoint(folder, weights_folder, read_json(weights_folder / "config.json"), modules)


def require_fit(checkpoint: Checkpoint, description: ModelDescription) -> None:
    """Raises a ModelBuildError when a checkpoint cannot be what a description says."""
    thing = f"model '{description.name}'"
    hidden = checkpoint.config.get("hidden_size", checkpoint.config.get("dim"))
    if description.stage == "dense" and hidden != description.dimension:
        raise ModelBuildError(
            thing, expected=f"dimension = {hidden}", got=str(description.dimension), remedy="Correct model.toml."
        )
    if description.max_tokens > checkpoint.longest_input:
        raise ModelBuildError(
            thing,
            expected=f"max_tokens of {checkpoint.longest_input} at most (the position embeddings)",
            got=str(description.max_tokens),
            remedy="Correct model.toml.",
        )
    if checkpoint.lowercases and not _tokenizer_lowercases(checkpoint.tokenizer):
        raise _unsupported(thing, "a tokenizer.json that lowercases, as do_lower_case says", "one that does not")
    numbers = sum(_product(shape) for shape in checkpoint.shapes.values())
    if 4 * numbers > LARGEST_GRAPH_BYTES:
        raise _unsupported(thing, "weights of 2 GB at most in float32 (one ONNX file)", f"{4 * numbers / 1e9:.1f} GB")
    _require_one_logit(thing, checkpoint, description)


def read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """A JSON object of a checkpoint; empty when an optional file is missing.

    Raises:
        ModelBuildError: It cannot be read.
    """
    if optional and not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBuildError(
            str(path), expected="readable JSON", got=str(error), remedy="Fetch the model again."
        ) from error
    return content


def _read_modules(folder: Path) -> dict[str, Path]:
    path = folder / "modules.json"
    if not path.exists():
        return {}
    listed: Any = read_json(path)
    modules = {str(each["type"]).rpartition(".")[2]: _inside(folder, str(each["path"]), path) for each in listed}
    supported = ("Transformer", "MLMTransformer", "Pooling", "SpladePooling", "Normalize")
    for name in modules:
        if name not in supported:
            raise _unsupported(str(path), f"only the modules {', '.join(supported)}", f"a module '{name}'")
    return modules


def _inside(folder: Path, named: str, source: Path) -> Path:
    # By name only: the hub's cache is made of symlinks.
    if Path(named).is_absolute() or ".." in Path(named).parts:
        raise _unsupported(str(source), "folders below its own", repr(named))
    return folder / named


def _require_files(folder: Path, weights_folder: Path) -> None:
    has = {path.name for place in (folder, weights_folder) for path in place.iterdir()}
    if not (weights_folder / "config.json").exists():
        raise _missing(weights_folder, "config.json", "nothing of that name", "Point to the folder that has it.")
    if not (weights_folder / "model.safetensors").exists():
        others = sorted(name for name in has if name.endswith((*PICKLES, *OTHER_WEIGHTS)))
        remedy = (
            "Save it in one safetensors file, with transformers: "
            "AutoModel….from_pretrained(FOLDER).save_pretrained(NEW_FOLDER, max_shard_size='10GB')."
        )
        if any(name.endswith(PICKLES) for name in others):
            remedy += " A pickle may run code when it is read: do that where it can do no harm, or not at all."
        raise _missing(weights_folder, "model.safetensors", ", ".join(others) or "no weights", remedy)
    if "tokenizer.json" not in has:
        others = sorted(name for name in has if name.startswith(("vocab", "merges", "sentencepiece", "spiece")))
        remedy = "Make it with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        raise _missing(weights_folder, "tokenizer.json", ", ".join(others) or "no tokenizer", remedy)


def _require_one_logit(thing: str, checkpoint: Checkpoint, description: ModelDescription) -> None:
    labels = len(checkpoint.config.get("id2label") or ()) or checkpoint.config.get("num_labels", 1)
    if description.stage == "rerank" and labels != 1:
        raise _unsupported(thing, "a classifier with one logit", f"one with {labels}")


def _tokenizer_lowercases(path: Path) -> bool:
    from tokenizers import Tokenizer

    normalizer = Tokenizer.from_file(str(path)).normalizer
    return normalizer is not None and normalizer.normalize_str("A") == "a"


def _product(shape: list[int]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def _missing(folder: Path, name: str, got: str, remedy: str) -> ModelBuildError:
    return ModelBuildError(f"checkpoint {folder}", expected=name, got=got, remedy=remedy)


def _unsupported(thing: str, expected: str, got: str) -> ModelBuildError:
    return ModelBuildError(
        thing, expected=expected, got=got, remedy="Use another model; docs/models.md says what can be built."
    )
