"""Exports of a collection for other systems: Parquet, NumPy, and JSON lines that Qdrant takes as points."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from embedder_assets.settings import Settings
from embedder_assets.stages.dense import as_matrix
from embedder_assets.stages.digest import input_digest
from embedder_assets.stages.fuse import RetrievalModels
from embedder_assets.stages.vectors import KEY, Model, vectors_of
from embedder_assets.tables.store import TableStore

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ExportOutcome:
    """What lies in the export folder of a collection.

    Attributes:
        folder: The export folder.
        files: File name to size in bytes.
        written: False when the files were up to date already.
    """

    folder: Path
    files: dict[str, int]
    written: bool


class ExportStage:
    """Writes the export folder of a collection."""

    def __init__(self, store: TableStore, settings: Settings, models: RetrievalModels) -> None:
        self._store = store
        self._home = settings.home
        # A stage that is off leaves its last good table; what is exported is what this run stands for.
        self._candidates = ["fused_candidates", *(["reranked_candidates"] if settings.enable_rerank else [])]
        self._models = models

    def run(self, collection: str) -> ExportOutcome:
        """Brings the export folder up to date: the manifest goes first and comes back last."""
        folder = export_folder(self._home, collection)
        chunks, digest = self._chunks(collection)
        previous = read_manifest(folder)
        if previous is not None and previous["input_digest"] == digest and _whole(folder, previous):
            return ExportOutcome(folder, _sizes(previous), written=False)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        files = [_file_entry(path) for path in self._write(folder, collection, chunks)]
        for left_over in (_sizes(previous) if previous else {}).keys() - {entry["name"] for entry in files}:
            (folder / left_over).unlink(missing_ok=True)
        manifest = {"collection": collection, "input_digest": digest, "chunk_count": chunks.height, "files": files}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        return ExportOutcome(folder, _sizes(manifest), written=True)

    def _chunks(self, collection: str) -> tuple[pl.DataFrame, str]:
        """The chunks with their vectors beside them, and a digest of all of it."""
        chunks = (
            self._store.read("chunks", collection).drop("document_sha256", "chunking").sort("doc_id", "chunk_index")
        )
        for model in self._models.dense:
            dense = vectors_of(self._store, "dense_embeddings", collection, [model], [*KEY, "embedding"])
            dense = dense.rename({"embedding": self._named("embedding", model)})
            chunks = chunks.join(dense, on=KEY, how="inner", maintain_order="left")
        if self._models.sparse:
            columns = [*KEY, "indices", "values", "source"]
            sparse = vectors_of(self._store, "sparse_embeddings", collection, self._models.sparse_sources, columns)
            sparse = sparse.rename({"source": "sparse_source"})
            chunks = chunks.join(sparse, on=KEY, how="inner", maintain_order="left")
        ranked = [
            self._store.read(table, collection, ["input_digest"])["input_digest"].unique().sort().to_list()
            for table in self._candidates
        ]
        parts = [str(self._models), str(self._candidates), str(ranked)]
        parts += map(str, chunks.select(*KEY, "start", "end", "heading").iter_rows())
        return chunks, input_digest(parts)

    def _named(self, word: str, model: Model) -> str:
        """The name of a dense model's vectors in a file: a word, and the model's name where there are several."""
        return word if len(self._models.dense) == 1 else f"{word}.{model[0]}"

    def _write(self, folder: Path, collection: str, chunks: pl.DataFrame) -> Iterator[Path]:
        """Writes every file and names it."""
        chunks.write_parquet(path := folder / "chunks.parquet")
        yield path
        ids = chunks["chunk_id"].to_numpy().astype(str)
        for model in self._models.dense:
            vectors = as_matrix(chunks[self._named("embedding", model)])
            np.savez(path := folder / f"{self._named('dense', model)}.npz", chunk_id=ids, embedding=vectors)
            yield path
        names = {self._named("dense", model): self._named("embedding", model) for model in self._models.dense}
        with (path := folder / "qdrant_points.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(point, ensure_ascii=False) + "\n" for point in _points(chunks, names))
        yield path
        for table in self._candidates:
            rows = self._store.read(table, collection).drop("input_digest").sort("query_id", "rank")
            rows.write_parquet(path := folder / f"{table}.parquet")
            yield path


def export_folder(home: Path, collection: str) -> Path:
    """Where the exports of a collection lie: in a folder of its name, which is a folder's name already."""
    name = collection.replace("/", "%2F")
    return home / "exports" / (name if name.strip(".") else name.replace(".", "%2E"))


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an export folder, or None when the export is missing or unfinished."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        manifest["input_digest"], _sizes(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest


def _points(chunks: pl.DataFrame, dense: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Points as Qdrant's upsert takes them, with named vectors; ``dense`` is name to column of the dense ones."""
    payload_columns = ["collection", "doc_id", "chunk_index", "heading", "start", "end", "text"]
    for row in chunks.iter_rows(named=True):
        vector: dict[str, Any] = {name: row[column] for name, column in dense.items()}
        if "indices" in row:
            vector["sparse"] = {"indices": row["indices"], "values": row["values"]}
        yield {"id": row["chunk_id"], "vector": vector, "payload": {name: row[name] for name in payload_columns}}


def _file_entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "size_bytes": path.stat().st_size, "sha256": digest}


def _sizes(manifest: dict[str, Any]) -> dict[str, int]:
    return {entry["name"]: entry["size_bytes"] for entry in manifest["files"]}


def _whole(folder: Path, manifest: dict[str, Any]) -> bool:
    paths = [folder / name for name in _sizes(manifest)]
    return all(path.is_file() for path in paths) and [_file_entry(path) for path in paths] == manifest["files"]
