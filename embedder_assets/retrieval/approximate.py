"""Keeps a graph of the dense vectors of a collection in which looking at every vector takes too long.

The graph follows the table row by row and is derived from it alone: whoever deletes it loses time and nothing else. How
much it finds is measured on the collection's own queries, whose exact neighbours the fused candidates hold; a graph
that finds too little is not searched.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from embedder_assets.embedding.dense import as_matrix
from embedder_assets.embedding.keys import KEY, Model, is_of
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.hnsw_index import Graph, Recall, forget_graphs, graph_folder, open_graph, save_graph
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore

NEAREST = 10
# Queries that the recall is measured on, at most.
JUDGED_QUERIES = 500
# How many nodes a query looks at: the smallest that finds enough is kept.
EXPANSIONS = (128, 256, 512, 1024)


@dataclass(frozen=True)
class GraphOutcome:
    """What was done to the graph of one collection and model.

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


def installed() -> bool:
    """Whether the library of the graphs is there."""
    return importlib.util.find_spec("usearch") is not None


class ApproximateStage:
    """Keeps the graphs of a collection, one a dense model, where it is large enough for them."""

    def __init__(self, store: TableStore, settings: Settings) -> None:
        self._store = store
        self._above = settings.approximate_above

    def wanted(self, collection: str) -> bool:
        """Whether a collection has more chunks than are searched exactly."""
        return bool(self._above) and self._store.count("chunks", collection) > self._above

    def run(self, collection: str, models: Sequence[Model]) -> dict[str, GraphOutcome]:
        """Brings the graphs up to date with ``dense_embeddings``; none is kept where exact search is fast enough.

        Args:
            collection: Name of the collection.
            models: The dense models, in the order of the settings.

        Returns:
            Name of the model to what was done; empty where no graph is wanted or the library is not there.

        Raises:
            TableError: A table cannot be read.
        """
        kept = models if installed() and self.wanted(collection) else []
        forget_graphs(self._store.home, collection, kept)
        return {model[0]: self._kept(collection, model, position) for position, model in enumerate(kept)}

    def _kept(self, collection: str, model: Model, position: int) -> GraphOutcome:
        folder = graph_folder(self._store.home, collection, model)
        rows = self._store.read("dense_embeddings", collection, KEY, where=is_of(model))
        graph, recall = open_graph(folder, view=False) or (None, None)
        if graph is None or graph.needs_rebuild:
            graph, recall = Graph.empty(self._dimension(collection, model)), None
        gone = graph.chunks.join(rows, on=KEY, how="anti")
        added = rows.join(graph.chunks, on=KEY, how="anti")
        if gone.height:
            graph.remove(gone)
        if added.height:
            self._add(graph, added, collection, model)
        if recall is None or not recall.enough or gone.height or added.height:
            recall = self._widened(graph, collection, model, position)
            save_graph(graph, recall, folder)
        return GraphOutcome(graph.keys.height, added.height, gone.height, recall, graph.expansion)

    def _dimension(self, collection: str, model: Model) -> int:
        one = self._store.read("dense_embeddings", collection, ["embedding"], where=is_of(model), limit=1)
        return as_matrix(one["embedding"]).shape[1] or 1

    def _add(self, graph: Graph, added: pl.DataFrame, collection: str, model: Model) -> None:
        columns = [*KEY, "embedding"]
        for frame in self._store.batches("dense_embeddings", collection, columns, where=is_of(model)):
            rows = frame.join(added, on=KEY, how="semi")
            if rows.height:
                graph.add(rows)

    def _widened(self, graph: Graph, collection: str, model: Model, position: int) -> Recall:
        """Lets a query look at as many nodes as it takes to find enough, and at no more."""
        recall = Recall(None, 0)
        for expansion in EXPANSIONS:
            graph.expansion = expansion
            recall = measured_recall(self._store, graph, collection, model, position)
            if recall.enough or not recall.queries:
                break
        return recall


def measured_recall(store: TableStore, graph: Graph, collection: str, model: Model, position: int) -> Recall:
    """The share of the ten nearest chunks that a graph finds, over the collection's own queries.

    Args:
        store: The tables.
        graph: The graph.
        collection: Name of the collection; its ``fused_candidates`` hold the exact ranks.
        model: Name and fingerprint.
        position: Of the model among the dense models.
    """
    asked = store.read("query_embeddings", collection, ["query_id", "embedding"], where=is_of(model))
    asked = asked.drop_nulls().sort("query_id").head(JUDGED_QUERIES)
    candidates = store.read("fused_candidates", collection, ["query_id", "chunk_id", "dense_ranks"])
    rank = pl.col("dense_ranks").list.get(position, null_on_oob=True)
    exact = candidates.filter(rank <= NEAREST).join(asked, on="query_id", how="semi").select("query_id", "chunk_id")
    if not exact.height:
        return Recall(None, 0)
    found = ChunkIndex([[graph]], None).rank_dense(0, as_matrix(asked["embedding"]), NEAREST)
    named = found.with_columns(query_id=asked["query_id"].gather(found["query"]))
    hits = exact.join(named, on=["query_id", "chunk_id"], how="semi")
    shares = (
        exact.group_by("query_id").len("exact").join(hits.group_by("query_id").len("hits"), on="query_id", how="left")
    )
    share = shares.select((pl.col("hits").fill_null(0) / pl.col("exact")).mean()).item()
    return Recall(round(float(share), 6), shares.height)


def graph_of(store: TableStore, collection: str, model: Model) -> Graph | None:
    """The graph of a collection's vectors by a model, where a search may rely on it.

    None where there is none, where it does not hold the very rows of the table, and where it finds too little.
    """
    folder = graph_folder(store.home, collection, model)
    if not folder.is_dir() or not installed():
        return None
    graph, recall = open_graph(folder, view=True) or (None, Recall(None, 0))
    if graph is None or not recall.enough:
        return None
    return graph if holds_the_table(store, graph, collection, model) else None


def holds_the_table(store: TableStore, graph: Graph, collection: str, model: Model) -> bool:
    """Whether a graph has the very rows that ``dense_embeddings`` has of a collection and model."""
    rows = store.read("dense_embeddings", collection, KEY, where=is_of(model))
    return graph.chunks.sort(KEY).equals(rows.sort(KEY))
