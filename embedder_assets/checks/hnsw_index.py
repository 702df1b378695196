"""What an approximate index has to find, compared with the exact ranks of the fused candidates."""

from __future__ import annotations

from embedder_assets.checks.finding import Finding
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.retrieval.hnsw_index import (
    MIN_RECALL,
    HnswIndexStage,
    index_folder,
    matches_table,
    measured_recall,
    open_index,
    usearch_installed,
)
from embedder_assets.run_context import Pipeline


def hnsw_index_finds_exact_neighbours(pipeline: Pipeline, collection: str) -> Finding | None:
    """The approximate index holds the rows of the table and finds 0.95 of the ten exact neighbours of a query."""
    if not usearch_installed() or not HnswIndexStage(pipeline.store, pipeline.settings).is_enabled_for(collection):
        return Finding("note", "searched exactly")
    measured = []
    for position, model in enumerate(RetrievalModels.of(pipeline.settings, pipeline.triton).dense):
        name = model.name
        found = open_index(index_folder(pipeline.store.home, collection, model), view=True)
        if found is None:
            return Finding(
                "warning",
                f"no whole index of model '{name}': the collection is searched exactly until it is built again",
            )
        index, _ = found
        if not matches_table(pipeline.store, index, collection, model):
            return Finding(
                "warning", f"the index of model '{name}' does not hold the rows of the table: searched exactly"
            )
        recall = measured_recall(pipeline.store, index, collection, model, position)
        if recall.at_10 is None:
            return Finding("warning", f"no query to measure the index of model '{name}' on: searched exactly")
        if not recall.enough:
            return Finding(
                "warning",
                f"the index of model '{name}' finds {recall.at_10:.3f} of the ten exact neighbours over "
                f"{recall.queries} queries, expected {MIN_RECALL} at least: searched exactly",
            )
        measured.append(f"{name}: {recall.at_10:.3f} of the ten exact neighbours over {recall.queries} queries")
    return Finding("note", "; ".join(measured))
