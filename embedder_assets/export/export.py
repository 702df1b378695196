"""Exports of a collection for other systems: Parquet, NumPy, and JSON lines that Qdrant takes as points."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from embedder_assets.embedding.dense import as_matrix
from embedder_assets.embedding.keys import KEY, MODEL_KEY, ModelVersion, is_of, vectors_of
from embedder_assets.evaluation.quality_gate import enforce_quality_gate
from embedder_assets.export.npz import write_npz
from embedder_assets.export.s3_delivery import MANIFEST, S3Delivery
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import DigestRange, digest_ranges, input_digest
from embedder_assets.tables.store import ROW_GROUP_ROWS, TableStore

UNFINISHED = "unfinished"

# What an export may consist of, with any settings.
_FILES = ("chunks.parquet", "*_candidates.parquet", "dense*.npz", "sparse*.npz", "qdrant_points.jsonl")


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
        self._settings = settings
        # A stage that is off leaves its last good table; what is exported is what this run stands for.
        self._candidates = ["fused_candidates", *(["reranked_candidates"] if settings.enable_rerank else [])]
        self._models = models
        self._delivery = S3Delivery(settings.exports_url) if settings.exports_url else None

    def run(self, collection: str) -> ExportOutcome:
        """Updates the export folder, and its copy in a bucket where the settings name one.

        Raises:
            CommitConflictError: Another host has changed the tables meanwhile.
            QualityError: The rankings are below the accepted baseline, or cannot be measured while one counts.
            StorageError: The bucket cannot be reached or written.
        """
        outcome = self._exported(collection)
        if self._delivery is not None:
            manifest = read_manifest(outcome.folder)
            assert manifest is not None, "it has just been written or found whole"
            self._delivery.deliver(outcome.folder, manifest)
        return outcome

    def _exported(self, collection: str) -> ExportOutcome:
        """The manifest goes first and comes back last."""
        folder = export_folder(self._settings.home, collection)
        digest = self._input_digest(collection)
        previous = read_manifest(folder)
        if previous is not None and previous["input_digest"] == digest and _is_complete(folder, previous):
            return ExportOutcome(folder, _sizes(previous), written=False)
        enforce_quality_gate(self._store, self._settings, collection)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        with _parts_of(folder, self._blocks(collection)) as parts:
            files = [_file_entry(path) for path in self._write(folder, collection, parts)]
        # By name, not by the earlier manifest: an export that was killed has removed that.
        written = {entry["name"] for entry in files}
        for path in (path for pattern in _FILES for path in folder.glob(pattern)):
            if path.name not in written:
                path.unlink()
        self._store.check_unchanged(collection)
        manifest = {"collection": collection, "input_digest": digest, "chunk_count": parts.rows, "files": files}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        return ExportOutcome(folder, _sizes(manifest), written=True)

    def _input_digest(self, collection: str) -> str:
        """Of all that the files are made from."""
        ranked = [
            self._store.read(table, collection, ["input_digest"])["input_digest"].unique().sort().to_list()
            for table in self._candidates
        ]
        return input_digest(
            chain([str(self._models), str(self._candidates), str(ranked)], self._chunk_parts(collection))
        )

    def _chunk_parts(self, collection: str) -> Iterator[str]:
        """What is exported of the chunks but their vectors, which their keys stand for; one text per range."""
        columns = [*KEY, "doc_id", "start", "end", "heading", "token_count", "page", "last_page"]
        for part in self._ranges(collection):
            chunks = self._with_metadata(collection, self._store.read("chunks", collection, columns, where=part.rows))
            for table, models in self._sources():
                rows = [
                    self._store.read(table, collection, MODEL_KEY, where=is_of(each) & part.rows) for each in models
                ]
                # The first source's row counts where there are several.
                source = pl.concat(rows).unique(KEY, keep="first", maintain_order=True)
                chunks = chunks.join(source.select(*KEY, pl.col("model").alias(str(models))), on=KEY)
            yield "\n".join(map(str, chunks.sort(KEY).iter_rows()))

    def _blocks(self, collection: str) -> Iterator[pl.DataFrame]:
        """The chunks that have all vectors, with these as columns, one frame per range of digests."""
        for part in self._ranges(collection):
            chunks = self._store.read("chunks", collection, where=part.rows).drop(
                "document_sha256", "chunking", "title", "context", "table_header"
            )
            chunks = self._with_metadata(collection, chunks)
            for table, models in self._sources():
                rows = vectors_of(self._store, table, collection, models, where=part.rows)
                if table == "sparse_embeddings":
                    rows = rows.select(*KEY, "indices", "values", sparse_source="source")
                else:
                    rows = rows.select(*KEY, pl.col("embedding").alias(self._named("embedding", models[0])))
                chunks = chunks.join(rows, on=KEY)
            yield chunks.sort("doc_id", "chunk_index")

    def _with_metadata(self, collection: str, chunks: pl.DataFrame) -> pl.DataFrame:
        """Chunks with the columns metadata and public of their documents."""
        of_these = pl.col("doc_id").is_in(chunks["doc_id"].unique().implode())
        documents = self._store.read("documents", collection, ["doc_id", "metadata", "public"], where=of_these)
        joined = chunks.join(documents, on="doc_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col("metadata").fill_null("{}"), pl.col("public").fill_null(False))

    def _ranges(self, collection: str) -> list[DigestRange]:
        return digest_ranges(self._store.count("chunks", collection))

    def _sources(self) -> list[tuple[str, list[ModelVersion]]]:
        """The embedding tables whose vectors are exported, with the models whose rows count, the first one first."""
        dense: list[tuple[str, list[ModelVersion]]] = [("dense_embeddings", [model]) for model in self._models.dense]
        sparse = self._models.sparse_sources
        return [*dense, *([("sparse_embeddings", sparse)] if sparse else [])]

    def _named(self, word: str, model: ModelVersion) -> str:
        """The name of a dense model's vectors in a file: a word, and the model's name where there are several."""
        return word if len(self._models.dense) == 1 else f"{word}.{model.name}"

    def _write(self, folder: Path, collection: str, parts: _Parts) -> Iterator[Path]:
        """Writes every file and names it."""
        pl.scan_parquet(parts.files, glob=False).sink_parquet(
            path := folder / "chunks.parquet", row_group_size=ROW_GROUP_ROWS
        )
        yield path
        names = {self._named("dense", model): self._named("embedding", model) for model in self._models.dense}
        for name, column in names.items():
            _write_vectors(path := folder / f"{name}.npz", parts, column)
            yield path
        with (path := folder / "qdrant_points.jsonl").open("wb") as file:
            for chunks in parts.frames():
                file.writelines(_point_lines(chunks, names))
        yield path
        for table in self._candidates:
            rows = self._store.read(table, collection).drop("input_digest").sort("query_id", "rank")
            rows.write_parquet(path := folder / f"{table}.parquet")
            yield path


@dataclass(frozen=True)
class _Parts:
    """What is exported, in Parquet files that are each small enough to be read whole."""

    files: list[Path]
    rows: int

    def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
        """One file after the other; all columns by default."""
        for file in self.files:
            yield pl.read_parquet(file, columns=list(columns) or None, glob=False)


@contextmanager
def _parts_of(folder: Path, blocks: Iterator[pl.DataFrame]) -> Iterator[_Parts]:
    """While the context lasts, blocks lie in a folder of their own."""
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    files: list[Path] = []
    rows = 0
    try:
        for block in blocks:
            files.append(unfinished / f"{len(files):06}.parquet")
            block.write_parquet(files[-1], row_group_size=ROW_GROUP_ROWS)
            rows += block.height
        yield _Parts(files, rows)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_vectors(path: Path, parts: _Parts, column: str) -> None:
    """A dense model's vectors and their chunks' ids as NumPy arrays, row by row the same chunk."""
    longest = max(
        part.select(pl.col("chunk_id").str.len_chars().max()).item() or 1 for part in parts.frames("chunk_id")
    )
    dimension = next((len(part[column][0]) for part in parts.frames(column) if part.height), 0)
    text = f"<U{longest}"
    ids = (part["chunk_id"].to_numpy().astype(text) for part in parts.frames("chunk_id"))
    vectors = (as_matrix(part[column]) for part in parts.frames(column))
    write_npz(
        path,
        {
            "chunk_id": ((parts.rows,), text, ids),
            "embedding": ((parts.rows, dimension), np.float32, vectors),
        },
    )


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


def _point_lines(chunks: pl.DataFrame, dense: dict[str, str]) -> Iterator[bytes]:
    """Points as Qdrant's upsert takes them, with named vectors; ``dense`` is name to column of the dense ones."""
    payload = ["collection", "doc_id", "chunk_index", "heading", "start", "end", "page", "last_page", "text", "public"]
    vectors = [pl.col(column).alias(name) for name, column in dense.items()]
    if "indices" in chunks.columns:
        vectors.append(pl.struct("indices", "values").alias("sparse"))
    points = chunks.select(id="chunk_id", vector=pl.struct(vectors), payload=pl.struct(payload))
    lines = points.write_ndjson().removesuffix("\n").split("\n") if points.height else []
    for line, metadata in zip(lines, chunks["metadata"], strict=True):
        # The fields of each document are others, and a column has one type: so they are put into the payload as text.
        yield f'{line.removesuffix("}}")},"metadata":{metadata}}}}}\n'.encode()


def _file_entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "size_bytes": path.stat().st_size, "sha256": digest}


def _sizes(manifest: dict[str, Any]) -> dict[str, int]:
    return {entry["name"]: entry["size_bytes"] for entry in manifest["files"]}


def _is_complete(folder: Path, manifest: dict[str, Any]) -> bool:
    paths = [folder / name for name in _sizes(manifest)]
    return all(path.is_file() for path in paths) and [_file_entry(path) for path in paths] == manifest["files"]
