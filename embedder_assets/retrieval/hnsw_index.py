"""An approximate index of dense vectors, for collections in which looking at every vector takes too long.

Hierarchical navigable small worlds (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search
using Hierarchical Navigable Small World graphs", TPAMI 2018), as usearch builds them. An index follows its table row by
row and is derived from it alone: whoever deletes it loses time and nothing else. Its recall is measured on the
collection's own queries, whose exact neighbours the fused candidates hold; an index that finds too little is not
searched.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.embedding.dense import as_matrix
from embedder_assets.embedding.keys import KEY, ModelVersion, is_of
from embedder_assets.retrieval.exact_index import ChunkIndex, row_by_id
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore

if TYPE_CHECKING:
    from usearch.index import Index

FOLDER = "indexes"
NEWEST = "newest.json"
# Of the nearest chunks of a query, the share that has to be found.
MIN_RECALL = 0.95
RECALL_DEPTH = 10
# Queries that the recall is measured on, at most.
RECALL_QUERIES = 500
# How many nodes a query looks at: the smallest that finds enough is kept.
EXPANSIONS = (128, 256, 512, 1024)
# A removed row stays in the graph as a way to others; above this share of them it is built anew.
REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class Recall:
    """How many of the exact neighbours an approximate index finds.

    Attributes:
        at_10: Share of the ten nearest chunks of a query, mean over the queries; None without queries.
        queries: How many were looked at.
    """

    at_10: float | None
    queries: int

    @property
    def enough(self) -> bool:
        """Whether searches may rely on the index."""
        return self.at_10 is not None and self.at_10 >= MIN_RECALL


class HnswIndex:
    """The chunks of a collection by a dense model; in a ``ChunkIndex`` a block that does not look at every vector.

    Attributes:
        keys: Columns key (of usearch, ascending), chunk_id, content_sha256.
        removed: Rows that were taken out since it was built.
    """

    def __init__(self, graph: Index, keys: pl.DataFrame, removed: int = 0) -> None:
        self.graph = graph
        self.keys = keys
        self.removed = removed

    @classmethod
    def empty(cls, dimension: int) -> HnswIndex:
        """An index without rows."""
        from usearch.index import Index

        keys = pl.DataFrame(schema={"key": pl.UInt64, **dict.fromkeys(KEY, pl.String)})
        return cls(Index(ndim=dimension, metric="ip", dtype="f32"), keys)

    @property
    def needs_rebuild(self) -> bool:
        """Whether so much was taken out that it is to be built anew."""
        return self.removed > REMOVED_SHARE * max(self.keys.height, 1)

    @property
    def expansion(self) -> int:
        """How many nodes a query looks at."""
        return int(self.graph.expansion_search)

    @expansion.setter
    def expansion(self, nodes: int) -> None:
        self.graph.expansion_search = nodes  # type: ignore[misc]

    def add(self, rows: pl.DataFrame) -> None:
        """Puts rows in: columns chunk_id, content_sha256, embedding."""
        first = 0 if self.keys.is_empty() else int(self.keys["key"][-1]) + 1
        keys = rows.select(pl.int_range(first, first + pl.len(), dtype=pl.UInt64).alias("key"), *KEY)
        self.graph.add(keys["key"].to_numpy(), as_matrix(rows["embedding"]))
        self._set_keys(pl.concat([self.keys, keys]))

    def remove(self, chunks: pl.DataFrame) -> None:
        """Takes rows out: columns chunk_id, content_sha256."""
        removed = self.keys.join(chunks, on=KEY, how="semi")
        self.graph.remove(removed["key"].to_numpy())
        self.removed += removed.height
        self._set_keys(self.keys.join(removed, on="key", how="anti", maintain_order="left"))

    def _set_keys(self, keys: pl.DataFrame) -> None:
        self.keys = keys
        for name in ("chunks", "position"):
            self.__dict__.pop(name, None)

    @functools.cached_property
    def chunks(self) -> pl.DataFrame:
        """Columns chunk_id and content_sha256."""
        return self.keys.select(KEY)

    @functools.cached_property
    def position(self) -> dict[str, int]:
        """The row of each chunk, by its id."""
        return row_by_id(self.keys["chunk_id"])

    def search(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row of the query and row of the chunk for about the ``depth`` nearest, in any order."""
        found: Any = self.graph.search(np.ascontiguousarray(queries).reshape(-1, self.graph.ndim), depth)
        # For a single query the library answers without the axis of the queries, and with all that there are.
        keys = np.reshape(found.keys, (len(queries), -1))
        counts = np.reshape(found.counts if len(queries) > 1 else keys.shape[1], (-1, 1))
        found_at = np.arange(keys.shape[1]) < counts
        return np.nonzero(found_at)[0], np.searchsorted(self.keys["key"].to_numpy(), keys[found_at])

    def vectors_at(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """The vectors of some rows, float32 [rows, dimension]."""
        if not len(rows):
            return np.empty((0, self.graph.ndim), np.float32)
        vectors: Any = self.graph.get(self.keys["key"].to_numpy()[rows])
        return np.asarray(vectors, np.float32)


def index_folder(home: Path, collection: str, model: ModelVersion) -> Path:
    """Where the index of a collection's vectors by a model is kept."""
    return home / FOLDER / quote(collection, safe="") / model.fingerprint


def save_index(index: HnswIndex, recall: Recall, folder: Path) -> None:
    """Writes an index; whoever opens the folder finds the earlier one or this one, and never a part of one."""
    folder.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    index.graph.save(str(folder / f"{name}.usearch"))
    index.keys.write_parquet(folder / f"{name}.parquet")
    about = {
        "name": name,
        "bytes": (folder / f"{name}.usearch").stat().st_size,
        "removed": index.removed,
        "expansion": index.expansion,
        "recall": asdict(recall),
    }
    unfinished = folder / f"{name}.json"
    unfinished.write_text(json.dumps(about), "utf-8")
    unfinished.rename(folder / NEWEST)
    for file in folder.iterdir():
        if file.stem != name and file.name != NEWEST:
            file.unlink()


def open_index(folder: Path, *, view: bool) -> tuple[HnswIndex, Recall] | None:
    """The index that is kept in a folder, with its recall; None where there is none that is whole.

    Args:
        folder: See ``index_folder``.
        view: Map the file instead of reading it: at once there, in memory only as far as it is used, not to be changed.
    """
    from usearch.index import Index

    try:
        about = json.loads((folder / NEWEST).read_text("utf-8"))
        file = folder / f"{about['name']}.usearch"
        # The library trusts a file's content.
        if file.stat().st_size != about["bytes"]:
            return None
        keys = pl.read_parquet(folder / f"{about['name']}.parquet", glob=False)
        graph = Index.restore(str(file), view=view)
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
        return None
    if graph is None or len(graph) != keys.height:
        return None
    index = HnswIndex(graph, keys, about["removed"])
    index.expansion = about["expansion"]
    return index, Recall(**about["recall"])


def remove_indexes(home: Path, collection: str, but: Sequence[ModelVersion]) -> None:
    """Removes the indexes of a collection, except those of some models."""
    kept = {model.fingerprint for model in but}
    folder = home / FOLDER / quote(collection, safe="")
    for each in folder.iterdir() if folder.is_dir() else []:
        if each.name not in kept:
            shutil.rmtree(each, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


@dataclass(frozen=True)
class HnswIndexOutcome:
    """What was done to the index of one collection and model.

    Attributes:
        rows: Vectors in it.
        added: Vectors that were put in.
        removed: Vectors that were taken out.
        recall: What it finds.
        expansion: Nodes a query looks at.
    """

    rows: int
    added: int
    removed: int
    recall: Recall
    expansion: int


def usearch_installed() -> bool:
    """Whether the extra ``approximate`` is installed."""
    return importlib.util.find_spec("usearch") is not None


class HnswIndexStage:
    """Keeps the indexes of a collection, one per dense model, where it is large enough for them."""

    def __init__(self, store: TableStore, settings: Settings) -> None:
        self._store = store
        self._above = settings.approximate_above

    def is_enabled_for(self, collection: str) -> bool:
        """Whether a collection has more chunks than are searched exactly."""
        return bool(self._above) and self._store.count("chunks", collection) > self._above

    def run(self, collection: str, models: Sequence[ModelVersion]) -> dict[str, HnswIndexOutcome]:
        """Updates the indexes from ``dense_embeddings``; none is kept where exact search is fast enough.

        Args:
            collection: Name of the collection.
            models: The dense models, in the order of the settings.

        Returns:
            Name of the model to what was done to its index; empty where no index is wanted or the library is not there.

        Raises:
            TableError: A table cannot be read.
        """
        kept = models if usearch_installed() and self.is_enabled_for(collection) else []
        remove_indexes(self._store.home, collection, kept)
        return {model.name: self._update(collection, model, position) for position, model in enumerate(kept)}

    def _update(self, collection: str, model: ModelVersion, position: int) -> HnswIndexOutcome:
        folder = index_folder(self._store.home, collection, model)
        rows = self._store.read("dense_embeddings", collection, KEY, where=is_of(model))
        index, recall = open_index(folder, view=False) or (None, None)
        if index is None or index.needs_rebuild:
            index, recall = HnswIndex.empty(self._dimension(collection, model)), None
        removed = index.chunks.join(rows, on=KEY, how="anti")
        added = rows.join(index.chunks, on=KEY, how="anti")
        if removed.height:
            index.remove(removed)
        if added.height:
            self._add(index, added, collection, model)
        if recall is None or not recall.enough or removed.height or added.height:
            recall = self._tune_expansion(index, collection, model, position)
            save_index(index, recall, folder)
        return HnswIndexOutcome(index.keys.height, added.height, removed.height, recall, index.expansion)

    def _dimension(self, collection: str, model: ModelVersion) -> int:
        one = self._store.read("dense_embeddings", collection, ["embedding"], where=is_of(model), limit=1)
        return as_matrix(one["embedding"]).shape[1] or 1

    def _add(self, index: HnswIndex, added: pl.DataFrame, collection: str, model: ModelVersion) -> None:
        columns = [*KEY, "embedding"]
        for frame in self._store.batches("dense_embeddings", collection, columns, where=is_of(model)):
            rows = frame.join(added, on=KEY, how="semi")
            if rows.height:
                index.add(rows)

    def _tune_expansion(self, index: HnswIndex, collection: str, model: ModelVersion, position: int) -> Recall:
        """Lets a query look at as many nodes as it takes to find enough, and at no more."""
        recall = Recall(None, 0)
        for expansion in EXPANSIONS:
            index.expansion = expansion
            recall = measured_recall(self._store, index, collection, model, position)
            if recall.enough or not recall.queries:
                break
        return recall


def measured_recall(store: TableStore, index: HnswIndex, collection: str, model: ModelVersion, position: int) -> Recall:
    """Recall@10 of an index against exact search, over the collection's own queries.

    Args:
        store: The tables.
        index: The index of that model.
        collection: Name of the collection; its ``fused_candidates`` hold the exact ranks.
        model: Name and fingerprint.
        position: Of the model among the dense models.
    """
    queries = store.read("query_embeddings", collection, ["query_id", "embedding"], where=is_of(model))
    queries = queries.drop_nulls().sort("query_id").head(RECALL_QUERIES)
    candidates = store.read("fused_candidates", collection, ["query_id", "chunk_id", "dense_ranks"])
    rank = pl.col("dense_ranks").list.get(position, null_on_oob=True)
    exact = (
        candidates.filter(rank <= RECALL_DEPTH).join(queries, on="query_id", how="semi").select("query_id", "chunk_id")
    )
    if not exact.height:
        return Recall(None, 0)
    found = ChunkIndex([[index]], None).rank_dense(0, as_matrix(queries["embedding"]), RECALL_DEPTH)
    named = found.with_columns(query_id=queries["query_id"].gather(found["query"]))
    hits = exact.join(named, on=["query_id", "chunk_id"], how="semi")
    shares = (
        exact.group_by("query_id").len("exact").join(hits.group_by("query_id").len("hits"), on="query_id", how="left")
    )
    share = shares.select((pl.col("hits").fill_null(0) / pl.col("exact")).mean()).item()
    return Recall(round(float(share), 6), shares.height)


def usable_index(store: TableStore, collection: str, model: ModelVersion) -> HnswIndex | None:
    """The index of a collection's vectors by a model, if a search may rely on it.

    None where there is none, where its rows are not those of the table, and where it finds too little.
    """
    folder = index_folder(store.home, collection, model)
    if not folder.is_dir() or not usearch_installed():
        return None
    index, recall = open_index(folder, view=True) or (None, Recall(None, 0))
    if index is None or not recall.enough:
        return None
    return index if matches_table(store, index, collection, model) else None


def matches_table(store: TableStore, index: HnswIndex, collection: str, model: ModelVersion) -> bool:
    """Whether an index has exactly the rows that ``dense_embeddings`` has of a collection and model."""
    rows = store.read("dense_embeddings", collection, KEY, where=is_of(model))
    return index.chunks.sort(KEY).equals(rows.sort(KEY))
