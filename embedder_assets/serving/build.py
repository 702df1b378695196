"""Builds what Triton loads from a model description: fetch, verify, convert to ONNX, change the precision, configure.

Nothing is built twice: ``build.json`` beside a model holds its fingerprint and the digest of the graph, and a model
whose files still agree with it is left alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving import export_torch, golden
from embedder_assets.serving.bert_graph import BertConfig
from embedder_assets.serving.bert_interaction import InteractionConfig
from embedder_assets.serving.bert_onnx import Head, build_bert_onnx
from embedder_assets.serving.checkpoint import Checkpoint, require_fit
from embedder_assets.serving.models import (
    ModelDescription,
    Pooling,
    ShippedSource,
    list_descriptions,
    load_description,
    render_config,
)
from embedder_assets.serving.precision import convert_fp16, quantize_int8
from embedder_assets.serving.sources import fetch, sha256_of, verify_shipped
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
        fingerprint: On the device that was asked for; so is ``precision``.
        problem: Why the model cannot be served, or None when its files are whole.
        size_bytes: Size of the ONNX graph, 0 when it is missing.
    """

    description: ModelDescription
    fingerprint: str
    precision: str
    problem: str | None
    size_bytes: int

    def as_row(self) -> dict[str, Any]:
        """The state as plain values, for a table or for JSON."""
        model = self.description
        return {
            "name": model.name,
            "stage": model.stage,
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "size_bytes": self.size_bytes,
            "source": model.source.label,
            "license": model.license,
            "pooling": model.pooling,
            "max_tokens": model.max_tokens,
            "dimension": model.dimension,
            "state": self.problem or "built",
        }


def build_models(
    repository: Path, report: Callable[[str], None] = print, *, names: Sequence[str] = (), device: Device = "cpu"
) -> list[str]:
    """Builds every model that is missing or stale. Returns the names of those it built.

    Args:
        repository: The model repository.
        report: Receives one line a step, for people.
        names: Only these models.
        device: What they are built for.

    Raises:
        ModelBuildError: A name is unknown, a source cannot be fetched, a digest differs from the description's, or the
            checkpoint cannot be what the description says.
    """
    built = []
    for state in inspect_models(repository, names=names, device=device):
        if state.problem is None:
            continue
        name = state.description.name
        report(f"{name}: building ({state.problem})")
        _build(state.description, repository / name, device)
        if device != state.description.device(device):
            report(f"{name}: it is part of this project as int8, so it is served on the CPU")
        report(f"{name}: built, {state.precision}, fingerprint {state.fingerprint}")
        built.append(name)
    return built


def inspect_models(repository: Path, *, names: Sequence[str] = (), device: Device = "cpu") -> Iterator[ModelState]:
    """Verifies the files of models against their descriptions and build records."""
    for description in list_descriptions(repository, names):
        folder = repository / description.name
        graph = folder / "1" / "model.onnx"
        yield ModelState(
            description,
            description.fingerprint(device),
            description.precision_on(device),
            _problem(description, folder, device),
            graph.stat().st_size if graph.exists() else 0,
        )


def require_built(repository: Path, name: str, device: Device = "cpu") -> None:
    """Raises a ModelBuildError that names the remedy when a model is missing or damaged."""
    problem = _problem(load_description(repository / name), repository / name, device)
    if problem is not None:
        raise ModelBuildError(
            f"model '{name}'", expected="a built model", got=problem, remedy="Run `embedder models build`."
        )


def _problem(description: ModelDescription, folder: Path, device: Device) -> str | None:
    graph, record = folder / "1" / "model.onnx", folder / "build.json"
    for path in (graph, folder / "tokenizer.json", folder / "config.pbtxt", record):
        if not path.exists():
            return f"{path.name} is missing"
    try:
        built = json.loads(record.read_text("utf-8"))
    except ValueError:
        return "build.json is damaged"
    if built.get("fingerprint") != description.fingerprint(device):
        return "the description or the device has changed since the build"
    for key, path in (("model_sha256", graph), ("tokenizer_sha256", folder / "tokenizer.json")):
        if built.get(key) != sha256_of(path):
            return f"{path.name} is not the file that was built"
    if (folder / "config.pbtxt").read_text("utf-8") != render_config(description, device):
        return "config.pbtxt differs from the description"
    return None


def _build(description: ModelDescription, folder: Path, device: Device) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    source = description.source
    if isinstance(source, ShippedSource):
        verify_shipped(description.name, source, folder)
    else:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _convert(description, fetch(source, folder, Path(scratch)), Path(scratch), folder, device)
    (folder / "config.pbtxt").write_text(render_config(description, device), "utf-8")
    record = {
        "fingerprint": description.fingerprint(device),
        "model_sha256": sha256_of(folder / "1" / "model.onnx"),
        "tokenizer_sha256": sha256_of(folder / "tokenizer.json"),
    }
    # Last, so that an interrupted build is a missing build.
    (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


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

    if not checkpoint.oddities:
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
        export_torch.export_onnx(checkpoint, description, target)


def _keep_golden(description: ModelDescription, checkpoint: Checkpoint, plain: Path, folder: Path) -> None:
    """Writes golden values where there are none of the reference framework yet."""
    kept = golden.read_golden(folder, description)
    framework = export_torch.has_torch() and description.pooling != "interaction"  # transformers has no such head
    if kept is not None and (kept.of_framework or not framework):
        return
    feeds = list(golden.encode(checkpoint.tokenizer, description))
    if framework:
        module = export_torch.load_module(checkpoint, description)
        outputs = export_torch.reference_outputs(module, feeds)
        golden.write_golden(folder, description, export_torch.versions(), outputs)
    else:
        golden.write_golden(folder, description, golden.FLOAT32_GRAPH, golden.graph_outputs(plain, feeds))
