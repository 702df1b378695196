"""A graph of dense vectors in which a query walks towards its neighbours, and the files that keep it.

Hierarchical navigable small worlds (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search
using Hierarchical Navigable Small World graphs", TPAMI 2018), as usearch builds them.
"""

from __future__ import annotations

import functools
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
from embedder_assets.embedding.keys import KEY, Model
from embedder_assets.retrieval.exact_index import row_of_each

if TYPE_CHECKING:
    from usearch.index import Index

FOLDER = "indexes"
NEWEST = "newest.json"
# Of the nearest chunks of a query, the share that has to be found.
RECALL = 0.95
# A removed row stays in the graph as a way to others; above this share of them it is built anew.
REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class Recall:
    """How much of the exact neighbours a graph finds.

    Attributes:
        at_10: Share of the ten nearest chunks of a query, mean over the queries; None where there is no query.
        queries: How many were looked at.
    """

    at_10: float | None
    queries: int

    @property
    def enough(self) -> bool:
        """Whether searches may rely on the graph."""
        return self.at_10 is not None and self.at_10 >= RECALL


class Graph:
    """The chunks of a collection by a dense model; in a ``ChunkIndex`` a block that does not look at every vector.

    Attributes:
        keys: Columns key (of the graph, ascending), chunk_id, content_sha256.
        removed: Rows that were taken out since it was built.
    """

    def __init__(self, index: Index, keys: pl.DataFrame, removed: int = 0) -> None:
        self.index = index
        self.keys = keys
        self.removed = removed

    @classmethod
    def empty(cls, dimension: int) -> Graph:
        """A graph without rows."""
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
        return int(self.index.expansion_search)

    @expansion.setter
    def expansion(self, nodes: int) -> None:
        self.index.expansion_search = nodes  # type: ignore[misc]

    def add(self, rows: pl.DataFrame) -> None:
        """Puts rows in: columns chunk_id, content_sha256, embedding."""
        first = 0 if self.keys.is_empty() else int(self.keys["key"][-1]) + 1
        keys = rows.select(pl.int_range(first, first + pl.len(), dtype=pl.UInt64).alias("key"), *KEY)
        self.index.add(keys["key"].to_numpy(), as_matrix(rows["embedding"]))
        self._keep(pl.concat([self.keys, keys]))

    def remove(self, chunks: pl.DataFrame) -> None:
        """Takes rows out: columns chunk_id, content_sha256."""
        gone = self.keys.join(chunks, on=KEY, how="semi")
        self.index.remove(gone["key"].to_numpy())
        self.removed += gone.height
        self._keep(self.keys.join(gone, on="key", how="anti", maintain_order="left"))

    def _keep(self, keys: pl.DataFrame) -> None:
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
        return row_of_each(self.keys["chunk_id"])

    def search(self, queries: NDArray[np.float32], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row of the query and row of the chunk for about the ``depth`` nearest, in any order."""
        found: Any = self.index.search(np.ascontiguousarray(queries).reshape(-1, self.index.ndim), depth)
        # For a single query the library answers without the axis of the queries, and with all that there are.
        keys = np.reshape(found.keys, (len(queries), -1))
        counts = np.reshape(found.counts if len(queries) > 1 else keys.shape[1], (-1, 1))
        there = np.arange(keys.shape[1]) < counts
        return np.nonzero(there)[0], np.searchsorted(self.keys["key"].to_numpy(), keys[there])

    def vectors_at(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """The vectors of some rows, float32 [rows, dimension]."""
        if not len(rows):
            return np.empty((0, self.index.ndim), np.float32)
        vectors: Any = self.index.get(self.keys["key"].to_numpy()[rows])
        return np.asarray(vectors, np.float32)


def graph_folder(home: Path, collection: str, model: Model) -> Path:
    """Where the graph of a collection's vectors by a model is kept."""
    return home / FOLDER / quote(collection, safe="") / model[1]


def save_graph(graph: Graph, recall: Recall, folder: Path) -> None:
    """Keeps a graph; whoever opens the folder finds the former one or this one, and both whole."""
    folder.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    graph.index.save(str(folder / f"{name}.usearch"))
    graph.keys.write_parquet(folder / f"{name}.parquet")
    about = {
        "name": name,
        "bytes": (folder / f"{name}.usearch").stat().st_size,
        "removed": graph.removed,
        "expansion": graph.expansion,
        "recall": asdict(recall),
    }
    unfinished = folder / f"{name}.json"
    unfinished.write_text(json.dumps(about), "utf-8")
    unfinished.rename(folder / NEWEST)
    for file in folder.iterdir():
        if file.stem != name and file.name != NEWEST:
            file.unlink()


def open_graph(folder: Path, *, view: bool) -> tuple[Graph, Recall] | None:
    """The graph that is kept in a folder, with its recall; None where there is none that is whole.

    Args:
        folder: See ``graph_folder``.
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
        index = Index.restore(str(file), view=view)
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
        return None
    if index is None or len(index) != keys.height:
        return None
    graph = Graph(index, keys, about["removed"])
    graph.expansion = about["expansion"]
    return graph, Recall(**about["recall"])


def forget_graphs(home: Path, collection: str, but: Sequence[Model]) -> None:
    """Removes the graphs of a collection, except those of some models."""
    kept = {model[1] for model in but}
    folder = home / FOLDER / quote(collection, safe="")
    for each in folder.iterdir() if folder.is_dir() else []:
        if each.name not in kept:
            shutil.rmtree(each, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
