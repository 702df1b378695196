"""What has to be true of a home, whatever was done to it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from embedder_assets.errors import TableError
from embedder_assets.export.export import export_folder
from embedder_assets.tables.store import TableStore
from tests.chaos.world import World
from tests.support.homes import differences

# Keys that no two rows of a table may share.
KEYS = {
    "documents": ["doc_id"],
    "document_issues": ["path", "kind", "part"],
    "metadata_fields": ["field"],
    "chunks": ["chunk_id"],
    "dense_embeddings": ["chunk_id", "model"],
    "sparse_embeddings": ["chunk_id", "model"],
    "queries": ["query_id"],
    "query_embeddings": ["query_id", "model"],
    "fused_candidates": ["query_id", "chunk_id"],
    "reranked_candidates": ["query_id", "chunk_id"],
}
EMBEDDINGS = ("dense_embeddings", "sparse_embeddings")


@dataclass(frozen=True)
class Held:
    """What the tables hold before a fault, by table and collection, and the documents that the corpus has then."""

    rows: dict[tuple[str, str], pl.DataFrame]
    corpus: dict[str, set[str]]

    @classmethod
    def of(cls, world: World) -> Held:
        columns = {
            "documents": ["doc_id"],
            "chunks": ["chunk_id", "content_sha256", "doc_id", "document_sha256"],
            **{name: ["chunk_id", "content_sha256", "model"] for name in EMBEDDINGS},
        }
        store = TableStore(world.home)
        rows = {
            (table, collection): store.read(table, collection, names)
            for table, names in columns.items()
            for collection in store.collections(table)
        }
        return cls(rows, corpus_documents(world))

    def lost(self, world: World, damaged: str | None) -> list[str]:
        """Rows that a run under a fault took although their source is still there.

        Args:
            world: The world after that run; damage to the corpus does not count as the end of a document.
            damaged: The table whose files the fault itself has broken, which nobody can read.
        """
        store = TableStore(world.home)
        found = []
        for (table, collection), before in self.rows.items():
            try:
                missing = self._missing(store, table, collection, before)
            except TableError as error:
                if damaged is None:
                    found.append(f"{table} of {collection} cannot be read after the run: {error}")
                continue
            if missing and table != damaged:
                found.append(f"{table} of {collection}: {missing} rows are gone although their source is there")
        return found

    def _missing(self, store: TableStore, table: str, collection: str, before: pl.DataFrame) -> int:
        now = store.read(table, collection, before.columns)
        if table == "documents":
            expected = before.filter(pl.col("doc_id").is_in(list(self.corpus[collection])))
        elif table == "chunks":
            documents = store.read("documents", collection, ["doc_id", "content_sha256"])
            same = documents.rename({"content_sha256": "document_sha256"})
            expected = before.join(same, on=["doc_id", "document_sha256"], how="semi")
        else:
            key = ["chunk_id", "content_sha256"]
            expected = before.join(store.read("chunks", collection, key), on=key, how="semi")
        return expected.join(now, on=before.columns, how="anti").height


def corpus_documents(world: World) -> dict[str, set[str]]:
    """The document ids of each collection of the corpus."""
    files = {path.relative_to(world.editor.files).as_posix() for path in world.editor.files.rglob("*.md")}
    return {"files": files, "rows": {*world.editor.rows, *world.editor.kept}}


def broken_rules(world: World, embeddings: Sequence[str] = EMBEDDINGS) -> list[str]:
    """What the tables and exports may not show after an undisturbed run that filled some embedding tables."""
    store = TableStore(world.home)
    found = []
    for table, key in KEYS.items():
        for collection in store.collections(table):
            if store.read(table, collection, key).is_duplicated().any():
                found.append(f"{table} of {collection} has rows twice")
    for collection, documents in corpus_documents(world).items():
        found += _rows(store, collection, documents, embeddings)
        found += _exports(export_folder(world.home, collection))
    return found


def left_in_staging(world: World) -> list[str]:
    """What lies in staging after an undisturbed run, although all runs were of the same models."""
    staged = [path for path in (world.home / "staging").rglob("*") if path.is_file()]
    return [f"{len(staged)} staged files are left, for example {staged[0]}"] if staged else []


def unlike_a_rebuild(world: World) -> list[str]:
    """How the home differs from one that is made from nothing now."""
    with tempfile.TemporaryDirectory(dir=world.root) as fresh:
        ended = world.start("rebuild", Path(fresh)).ended()
        if not ended.well:
            return [f"the rebuild ended with {ended.status}: {ended.sentence or ended.said[-800:]}"]
        return [f"unlike a rebuild: {each}" for each in differences(world.home, Path(fresh))]


def _rows(store: TableStore, collection: str, documents: set[str], embeddings: Sequence[str]) -> list[str]:
    """Whether the tables hold the documents of the corpus, all of them and no other, with all their vectors."""
    found = []
    held = set(store.read("documents", collection, ["doc_id"])["doc_id"])
    if held != documents:
        found.append(
            f"documents of {collection}: {sorted(documents - held)} are missing, {sorted(held - documents)} stay"
        )
    chunks = store.read("chunks", collection, ["chunk_id", "content_sha256", "doc_id"])
    if set(chunks["doc_id"]) != documents:
        found.append(f"chunks of {collection} are not those of its documents")
    key = ["chunk_id", "content_sha256"]
    for table in embeddings:
        rows = store.read(table, collection, key).unique()  # there may be several models
        if not rows.sort(key).equals(chunks.select(key).sort(key)):
            found.append(f"{table} of {collection}: {rows.height} rows do not fit {chunks.height} chunks")
    vectors = store.read("dense_embeddings", collection, ["embedding"])["embedding"]
    lengths = np.array([np.linalg.norm(vector) for vector in vectors.to_list()])
    if not np.allclose(lengths, 1, atol=1e-4):
        found.append(f"dense_embeddings of {collection} have vectors that are not of length 1")
    return found


def _exports(folder: Path) -> list[str]:
    """Whether an export folder is whole: exactly the files of its manifest, with their digests."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        return [f"exports in {folder.name} have no manifest: {error}"]
    named = {entry["name"]: entry["sha256"] for entry in manifest["files"]}
    lying = {path.name for path in folder.iterdir()} - {"manifest.json"}
    if lying != set(named):
        return [f"exports in {folder.name}: the manifest names {sorted(named)}, and there are {sorted(lying)}"]
    return [
        f"export {name} in {folder.name} is not what its manifest says"
        for name, digest in named.items()
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]
