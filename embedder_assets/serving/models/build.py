"""Builds what Triton loads from a model description: fetch, verify, convert to ONNX, change the precision, configure.

A model that cannot be built is named and keeps no other from being built. Nothing is built twice: ``build.json`` next
to a model holds its fingerprint and the digest of the graph, and a model whose files still agree with it is left alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embedder_assets.errors import EmbedderError, ModelBuildError
from embedder_assets.serving.models import golden
from embedder_assets.serving.models.checkpoint import Checkpoint, require_fit
from embedder_assets.serving.models.description import (
    ModelDescription,
    Pooling,
    ShippedSource,
    load_description,
    model_folders,
)
from embedder_assets.serving.models.onnx import torch_export
from embedder_assets.serving.models.onnx.bert import Head, build_bert_onnx
from embedder_assets.serving.models.onnx.bert_encoder import BertConfig
from embedder_assets.serving.models.onnx.bert_interaction import InteractionConfig
from embedder_assets.serving.models.onnx.quantize import convert_fp16, quantize_int8
from embedder_assets.serving.models.precision import BUILD_RECORD, CHOICE_KEY, Choice, choose, cpu_flags, has_openvino
from embedder_assets.serving.models.sources import fetch, sha256_of, verify_shipped
from embedder_assets.serving.models.triton_config import render_config
from embedder_assets.settings import Device

HEADS: dict[Pooling, Head] = {
    "mean": "mean_pool",
    "cls": "cls_pool",
    "last_token": "last_token_pool",
    "splade_max": "splade_topk",
    "logit": "classify",
}


@dataclass(frozen=True)
class ModelState:
    """One model of the repository, as ``embedder models list`` shows it.

    Attributes:
        name: Of the folder.
        description: None where ``model.toml`` is not right; ``fingerprint`` and ``precision`` are then empty.
        fingerprint: On the device that was asked for; so is ``precision``.
        problem: Why the model cannot be served, or None when its files are whole.
        size_bytes: Size of the ONNX graph, 0 when it is missing.
    """

    name: str
    description: ModelDescription | None
    fingerprint: str
    precision: str
    problem: str | None
    size_bytes: int

    def as_row(self) -> dict[str, Any]:
        """The state as plain values, for a table or for JSON."""
        model = self.description
        return {
            "name": self.name,
            "stage": model.stage if model else "",
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "size_bytes": self.size_bytes,
            "source": model.source.label if model else "",
            "license": model.license if model else "",
            "pooling": model.pooling if model else "",
            "max_tokens": model.max_tokens if model else None,
            "dimension": model.dimension if model else None,
            "state": self.problem or "built",
        }


@dataclass
class BuildOutcome:
    """What came of building several models.

    Attributes:
        built: Names of those that were missing or stale and are built now.
        failed: Name to error of those that cannot be built.
    """

    built: list[str] = field(default_factory=list)
    failed: dict[str, ModelBuildError] = field(default_factory=dict)


def build_each(
    repository: Path,
    report: Callable[[str], None] = print,
    *,
    names: Sequence[str] = (),
    device: Device = "cpu",
    shared_tables: bool = False,
) -> BuildOutcome:
    """Builds every model that is missing or stale; one that cannot be built does not stop the others.

    Args:
        repository: The model repository.
        report: Receives one line per step, for people.
        names: Only these models.
        device: What they are built for.
        shared_tables: Whether hosts with other CPUs write the same tables, see ``precision.choose``.

    Raises:
        ModelBuildError: The repository has no model, or none of a name.
    """
    outcome = BuildOutcome()
    for state in inspect_models(repository, names=names, device=device):
        choice = _new_choice(state.description, device, shared_tables=shared_tables)
        if state.problem is None and choice is None:
            continue
        try:
            built = _build_chosen(repository / state.name, state, choice, device, report)
        except ModelBuildError as error:
            report(f"{state.name}: not built: {error}")
            outcome.failed[state.name] = error
            continue
        if built:
            outcome.built.append(state.name)
    return outcome


def _new_choice(description: ModelDescription | None, device: Device, *, shared_tables: bool) -> Choice | None:
    """What `auto` is to stand for, where that is to be decided: once, or anew for tables that come to be shared."""
    if description is None or not description.awaits_choice or device != "cpu":
        return None
    if description.choice is not None and not (shared_tables and description.choice != "int8"):
        return None
    return choose(description.stage, cpu_flags(), openvino=has_openvino(), shared_tables=shared_tables)


def _build_chosen(
    folder: Path, state: ModelState, choice: Choice | None, device: Device, report: Callable[[str], None]
) -> bool:
    """Builds a model, or keeps a choice that changes nothing with a build that is whole; says which it was."""
    description = load_description(folder)
    if choice is not None:
        description = description.with_choice(choice.precision)
    precision = description.precision_on(device)
    if state.problem is None and precision == state.precision:
        _record(description, folder, device)
    else:
        report(f"{state.name}: building ({state.problem or f'{precision} in place of {state.precision}'})")
        _build(description, folder, device)
        if device != description.device(device):
            report(f"{state.name}: it is part of this project as int8, so it is served on the CPU")
        report(f"{state.name}: built, {precision}, fingerprint {description.fingerprint(device)}")
    if choice is not None and choice.reason:
        report(f"{state.name}: {precision}: {choice.reason}")
    return state.problem is not None or precision != state.precision


def build_models(
    repository: Path, report: Callable[[str], None] = print, *, names: Sequence[str] = (), device: Device = "cpu"
) -> list[str]:
    """``build_each`` for a caller that needs every model. Returns the names of those that were built.

    Raises:
        ModelBuildError: A name is unknown, a source cannot be fetched, a digest differs from the description's, or the
            checkpoint cannot be what the description says. The others are built.
    """
    outcome = build_each(repository, report, names=names, device=device)
    for error in outcome.failed.values():
        raise error
    return outcome.built


def require_buildable(checkpoint: Checkpoint, description: ModelDescription, repository: Path, device: Device) -> None:
    """Builds a model in a scratch folder of the repository and throws it away: what fails here would fail later.

    Raises:
        ModelBuildError: It cannot be built.
    """
    with _build_errors(description.name), tempfile.TemporaryDirectory(prefix=".trial-", dir=repository) as place:
        scratch, folder = Path(place), Path(place) / "model"
        (folder / "1").mkdir(parents=True)
        _convert(description, checkpoint, scratch, folder, device)


def inspect_models(repository: Path, *, names: Sequence[str] = (), device: Device = "cpu") -> Iterator[ModelState]:
    """Verifies the files of models against their descriptions and build records."""
    for folder in model_folders(repository, names):
        graph = folder / "1" / "model.onnx"
        size = graph.stat().st_size if graph.exists() else 0
        try:
            description = load_description(folder)
        except ModelBuildError as error:
            yield ModelState(folder.name, None, "", "", str(error), size)
            continue
        yield ModelState(
            folder.name,
            description,
            description.fingerprint(device),
            description.precision_on(device),
            _problem(description, folder, device),
            size,
        )


def require_built(repository: Path, name: str, device: Device = "cpu") -> None:
    """Raises a ModelBuildError that names the remedy when a model is missing or damaged."""
    problem = _problem(load_description(repository / name), repository / name, device)
    if problem is not None:
        raise ModelBuildError(
            f"model '{name}'", expected="a built model", got=problem, remedy="Run `embedder models build`."
        )


def _problem(description: ModelDescription, folder: Path, device: Device) -> str | None:
    graph, record = folder / "1" / "model.onnx", folder / BUILD_RECORD
    for path in (graph, folder / "tokenizer.json", folder / "config.pbtxt", record):
        if not path.exists():
            return f"{path.name} is missing"
    try:
        return _mismatch(json.loads(record.read_text("utf-8")), description, folder, device)
    except (ValueError, AttributeError):  # not JSON, or no object
        return "build.json is damaged"
    except OSError as error:
        return f"its files cannot be read: {error}"


def _mismatch(built: dict[str, Any], description: ModelDescription, folder: Path, device: Device) -> str | None:
    if built.get("fingerprint") != description.fingerprint(device):
        return "the description, the device or the way of building has changed since the build"
    for key, path in (
        ("model_sha256", folder / "1" / "model.onnx"),
        ("tokenizer_sha256", folder / "tokenizer.json"),
    ):
        if built.get(key) != sha256_of(path):
            return f"{path.name} is not the file that was built"
    if (folder / "config.pbtxt").read_bytes() != render_config(description, device).encode():
        return "config.pbtxt differs from the description"
    return None


@contextmanager
def _build_errors(name: str) -> Iterator[None]:
    """Translates what libraries raise for a checkpoint that they do not understand into an error about the model."""
    try:
        yield
    except EmbedderError:
        raise
    except OSError as error:
        raise ModelBuildError(
            f"model '{name}'",
            expected="to read its source and to write into the model repository",
            got=str(error),
            remedy="Check free space and permissions, then run `embedder models build` again.",
        ) from error
    except Exception as error:
        raise ModelBuildError(
            f"model '{name}'",
            expected="a checkpoint that can be built",
            got=f"{type(error).__name__}: {error}"[:400],
            remedy="Fetch the checkpoint again, or use another; docs/models.md says what can be built.",
        ) from error


def build_beside(description: ModelDescription, folder: Path, target: Path, device: Device) -> None:
    """Builds a model of a folder into another one, which has its description already; to try it in another precision.

    Raises:
        ModelBuildError: It cannot be built.
    """
    _build(description, folder, device, target)


def _build(description: ModelDescription, folder: Path, device: Device, target: Path | None = None) -> None:
    target = target or folder
    with _build_errors(description.name):
        (target / "1").mkdir(parents=True, exist_ok=True)
        source = description.source
        if isinstance(source, ShippedSource):
            verify_shipped(description.name, source, target)
        else:
            with tempfile.TemporaryDirectory(dir=target) as scratch:
                _convert(description, fetch(source, folder, Path(scratch)), Path(scratch), target, device)
        _record(description, target, device)


def _record(description: ModelDescription, folder: Path, device: Device) -> None:
    """Writes what the backend and ``inspect_models`` compare the files with."""
    (folder / "config.pbtxt").write_text(render_config(description, device), "utf-8")
    record = {
        "fingerprint": description.fingerprint(device),
        "model_sha256": sha256_of(folder / "1" / "model.onnx"),
        "tokenizer_sha256": sha256_of(folder / "tokenizer.json"),
        **({CHOICE_KEY: description.choice} if description.choice else {}),
    }
    # Last, so that an interrupted build is a missing build.
    (folder / BUILD_RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _convert(
    description: ModelDescription, checkpoint: Checkpoint, scratch: Path, folder: Path, device: Device
) -> None:
    require_fit(checkpoint, description)
    plain, finished = scratch / "plain.onnx", scratch / "finished.onnx"
    precision = description.precision_on(device)
    write_float32(checkpoint, description, plain, fused=precision == "int8")
    _keep_golden(description, checkpoint, plain, folder)
    if precision == "int8":
        quantize_int8(plain, finished)
    elif precision == "fp16":
        convert_fp16(plain, finished)
    else:
        plain.replace(finished)
    tokenizer = checkpoint.tokenizer.read_bytes()
    finished.replace(folder / "1" / "model.onnx")
    (folder / "tokenizer.json").write_bytes(tokenizer)


def write_float32(checkpoint: Checkpoint, description: ModelDescription, target: Path, *, fused: bool = False) -> None:
    """Writes the float32 graph of a checkpoint: by our own writer where it can, through torch otherwise.

    Args:
        checkpoint: The weights.
        description: What the model is to answer.
        target: Where the graph goes; its folder must exist.
        fused: Whether our own writer may use operators that only ONNX Runtime on the CPU has.

    Raises:
        ModelBuildError: The head is missing, or the architecture needs torch and torch is not installed.
    """
    import onnx

    if not checkpoint.unsupported_features:
        config = checkpoint.weights_folder / "config.json"
        graph = build_bert_onnx(
            checkpoint.weights,
            replace(BertConfig.from_file(config), fused=fused),
            InteractionConfig.from_file(config) if description.pooling == "interaction" else HEADS[description.pooling],
            normalize=description.normalize,
            top_k=description.dimension,
        )
        onnx.save(graph, target)
    else:
        torch_export.export_onnx(checkpoint, description, target)


def _keep_golden(description: ModelDescription, checkpoint: Checkpoint, plain: Path, folder: Path) -> None:
    """Writes golden values where there are none of the reference framework yet."""
    kept = golden.read_golden(folder, description)
    framework = torch_export.has_torch() and description.pooling != "interaction"  # transformers has no such head
    if kept is not None and (kept.of_framework or not framework):
        return
    feeds = list(golden.encode(checkpoint.tokenizer, description))
    if framework:
        module = torch_export.load_module(checkpoint, description)
        outputs = torch_export.reference_outputs(module, feeds)
        golden.write_golden(folder, description, torch_export.versions(), outputs)
    else:
        golden.write_golden(folder, description, golden.FLOAT32_GRAPH, golden.graph_outputs(plain, feeds))
