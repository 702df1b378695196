"""``dense_index``: a graph of the dense vectors, where a collection is too large for exact search."""

import dagster as dg

from embedder_assets.assets.fused_candidates import fused_candidates
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_each
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.retrieval.hnsw_index import HnswIndexStage, index_folder, usearch_installed
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line
from embedder_assets.tables.store import TableStore

LIBRARY_MISSING = (
    "collection '{}' has more chunks than EMBEDDER_APPROXIMATE_ABOVE ({}) and is searched exactly: an approximate "
    "index needs the extra `approximate` (docs/operations/capacity.md, Large collections)"
)


# The candidates hold the exact neighbours of the queries, on which the graph is measured.
@collection_asset(deps=[fused_candidates], group_name="retrieval", kinds={"usearch"}, tags={"stage": "search"})
def dense_index(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """An approximate index of the dense vectors for `embedder search`, where a collection is large enough for one."""
    settings = pipeline.settings

    def work(tables: TableStore, collection: str) -> Metadata:
        stage = HnswIndexStage(tables, settings)
        models = RetrievalModels.of(settings, pipeline.triton).dense
        outcomes = stage.run(collection, models)
        if not outcomes:
            if not usearch_installed() and stage.is_enabled_for(collection):
                context.log.warning(one_line(LIBRARY_MISSING.format(collection, settings.approximate_above)))
            return {"search": "exact"}
        first = outcomes[settings.dense_models[0]]
        return {
            "search": "approximate" if first.recall.enough else "exact: the graph finds too little",
            "dagster/row_count": first.rows,
            "added": first.added,
            "removed": first.removed,
            **({} if first.recall.at_10 is None else {"recall_at_10_of_exact": first.recall.at_10}),
            "judged_queries": first.recall.queries,
            "expansion_search": first.expansion,
            "folder": dg.MetadataValue.path(index_folder(settings.home, collection, models[0]).parent),
        }

    yield from materialize_each(context, pipeline, work)
