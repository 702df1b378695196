"""A checkpoint folder of sentence-transformers or transformers: what is in it, and whether it can be built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.description import ModelDescription, Pooling

SOURCE_FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Formats whose readers run code that the file brings.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
OTHER_WEIGHTS = (".safetensors", ".index.json", ".onnx", ".h5", ".msgpack", ".gguf")
# An ONNX file cannot be larger.
LARGEST_GRAPH_BYTES = 2**31 - 2**24
# Where the types of modules.json are from; a class of the same name from elsewhere is code that the checkpoint brings.
MODULES_PACKAGE = "sentence_transformers"
# What transformers calls the width of a token's vector, by architecture.
WIDTHS = ("hidden_size", "dim", "d_model")
PLAIN_BERT = {"hidden_act": "gelu", "position_embedding_type": "absolute", "type_vocab_size": 2, "is_decoder": False}
KNOWN_ARCHITECTURES = "bert, roberta, xlm-roberta, mpnet, distilbert, electra, deberta-v2, modernbert"
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
    def config_file(self) -> Path:
        """The ``config.json`` of the weights."""
        return self.weights_folder / "config.json"

    @property
    def tokenizer(self) -> Path:
        """The ``tokenizer.json``, next to the weights or above them."""
        own = self.weights_folder / "tokenizer.json"
        return own if own.exists() else self.folder / "tokenizer.json"

    @property
    def architecture(self) -> str:
        """The model type of transformers, such as ``bert`` or ``xlm-roberta``."""
        return str(self.config.get("model_type", "bert"))

    @property
    def unsupported_features(self) -> list[str]:
        """What sets it apart from the plain BERT that our own writer knows; empty for such a one."""
        if self.architecture != "bert":
            return [f"architecture '{self.architecture}'"]
        declared = {name: self.config.get(name, usual) for name, usual in PLAIN_BERT.items()}
        return [f"{name} {value!r}" for name, value in declared.items() if value != PLAIN_BERT[name]]

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
    def width(self) -> int:
        """Numbers of a token's vector, which a dense vector has too.

        Raises:
            ModelBuildError: ``config.json`` does not say it in a way that transformers' own architectures have.
        """
        declared = next((self.config[name] for name in WIDTHS if name in self.config), None)
        if not isinstance(declared, int) or declared < 1:
            raise _unsupported(
                f"{self.config_file} (model_type '{self.architecture}')",
                f"the width of a vector as {', '.join(WIDTHS[:-1])} or {WIDTHS[-1]}, as {KNOWN_ARCHITECTURES} have it",
                "none" if declared is None else repr(declared),
            )
        return declared

    @property
    def longest_input(self) -> int:
        """Tokens that the position embeddings allow, special tokens included.

        Raises:
            ModelBuildError: ``config.json`` has something else than a number there.
        """
        positions = self.config.get("max_position_embeddings", 512)
        if not isinstance(positions, int) or positions < 1:
            raise _unsupported(str(self.config_file), "max_position_embeddings as a number", repr(positions))
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
        declared = read_json(path)
        chosen = [word for word in str(declared.get("pooling_mode", "")).split("+") if word]
        chosen += [name for name, on in declared.items() if name.startswith("pooling_mode_") and on]
        known = POOLING_WORDS | POOLING_SWITCHES
        if len(chosen) != 1 or chosen[0] not in known:
            raise _unsupported(
                str(path), f"one of the poolings {', '.join(POOLING_WORDS)}", ", ".join(chosen) or "none"
            )
        if declared.get("include_prompt") is False and any(self.prompts.values()):
            raise _unsupported(str(path), "include_prompt = true: prefixes are pooled as text", "false")
        return known[chosen[0]]

    def _splade_pooling(self) -> Pooling:
        path = self.modules["SpladePooling"] / "config.json"
        declared = read_json(path)
        got = (declared.get("pooling_strategy", "max"), declared.get("activation_function", "relu"))
        if got != ("max", "relu"):
            raise _unsupported(str(path), "the strategy max with relu", " with ".join(got))
        return "splade_max"

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt name to text, of sentence-transformers."""
        path = self.folder / "config_sentence_transformers.json"
        declared = read_json(path, optional=True).get("prompts") or {}
        if not isinstance(declared, dict):
            raise _unsupported(str(path), "prompts as names with texts", repr(declared))
        return {name: str(text) for name, text in declared.items()}

    @property
    def lowercases(self) -> bool:
        """Whether sentence-transformers itself makes texts lower case before the tokenizer sees them."""
        return bool(self._text_options.get("do_lower_case"))

    @property
    def max_tokens(self) -> int:
        """The longest input that the checkpoint recommends."""
        tokenizer = read_json(self.weights_folder / "tokenizer_config.json", optional=True)
        declared = [self._text_options.get("max_seq_length"), tokenizer.get("model_max_length"), self.longest_input]
        # Without a limit transformers writes 10^30.
        return min(int(number) for number in declared if isinstance(number, int | float) and number > 0)

    @property
    def _text_options(self) -> dict[str, Any]:
        declared: dict[str, Any] = {}
        for folder in (self.folder, self.weights_folder):
            declared |= read_json(folder / "sentence_bert_config.json", optional=True)
        return declared


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
    """Raises a ModelBuildError when a checkpoint cannot be what a description says.

    Of what the conversion would not find: it reads tensors by name, and takes no notice of what it does not know.
    """
    thing = f"model '{description.name}'"
    _require_only_weights(checkpoint)
    if description.stage == "dense" and checkpoint.width != description.dimension:
        raise ModelBuildError(
            thing,
            expected=f"dimension = {checkpoint.width}",
            got=str(description.dimension),
            remedy="Correct model.toml.",
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


def _require_only_weights(checkpoint: Checkpoint) -> None:
    """What would be computed otherwise than config.json, weights and tokenizer say, or with code of the checkpoint."""
    tokenizer = checkpoint.weights_folder / "tokenizer_config.json"
    for path, declared in (
        (checkpoint.config_file, checkpoint.config),
        (tokenizer, read_json(tokenizer, optional=True)),
    ):
        if declared.get("auto_map"):
            raise _unsupported(
                f"{path} (model_type '{checkpoint.architecture}')",
                f"an architecture that transformers brings itself ({KNOWN_ARCHITECTURES}; docs/models.md)",
                "'auto_map': custom code of the checkpoint (trust_remote_code), which is never run",
            )
    if checkpoint.config.get("quantization_config"):
        raise _unsupported(
            str(checkpoint.config_file),
            "weights in floating point",
            "'quantization_config': weights that are quantized",
        )
    for folder in (checkpoint.folder, checkpoint.weights_folder):
        if (folder / "adapter_config.json").exists():
            raise _unsupported(str(folder), "whole weights", "adapter_config.json: an adapter of other weights")


def read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """A JSON object of a checkpoint; empty when an optional file is missing.

    Raises:
        ModelBuildError: It cannot be read, or is no object.
    """
    if optional and not path.exists():
        return {}
    content = _parsed(path)
    if not isinstance(content, dict):
        raise _unreadable(path, "a JSON object", f"a {type(content).__name__}")
    return content


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, "readable JSON", str(error)) from error


def _read_modules(folder: Path) -> dict[str, Path]:
    path = folder / "modules.json"
    if not path.exists():
        return {}
    listed = _parsed(path)
    if not isinstance(listed, list) or not all(isinstance(each, dict) and "type" in each for each in listed):
        raise _unreadable(path, "a list of modules, each with its type", repr(listed)[:200])
    supported = ("Transformer", "MLMTransformer", "Pooling", "SpladePooling", "Normalize")
    modules: dict[str, Path] = {}
    for each in listed:
        place = _inside(folder, str(each.get("path", "")), path)
        package, _, name = str(each["type"]).rpartition(".")
        ours = package.partition(".")[0] == MODULES_PACKAGE
        if name not in supported or not ours or name in modules:
            got = f"a module '{name if ours else each['type']}'{' again' if name in modules else ''}"
            raise _unsupported(str(path), f"only the modules {', '.join(supported)} of {MODULES_PACKAGE}", got)
        modules[name] = place
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
    named = checkpoint.config.get("id2label")
    labels = len(named) if isinstance(named, dict) and named else checkpoint.config.get("num_labels", 1)
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


def _unreadable(path: Path, expected: str, got: str) -> ModelBuildError:
    return ModelBuildError(str(path), expected=expected, got=got, remedy="Fetch the model again.")


def _missing(folder: Path, name: str, got: str, remedy: str) -> ModelBuildError:
    return ModelBuildError(f"checkpoint {folder}", expected=name, got=got, remedy=remedy)


def _unsupported(thing: str, expected: str, got: str) -> ModelBuildError:
    return ModelBuildError(
        thing, expected=expected, got=got, remedy="Use another model; docs/models.md says what can be built."
    )
