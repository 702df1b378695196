"""``chunks``: the documents, split at headings into pieces that every dense model reads whole."""

import dagster as dg

from embedder_assets.assets.documents import documents
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.assets.support.preview import PREVIEW_ROWS, histogram, table_preview
from embedder_assets.chunking.stage import ChunkStage
from embedder_assets.embedding.dense import token_budget
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


@collection_asset(deps=[documents], group_name="corpus", kinds={"delta"}, tags={"stage": "chunk"})
def chunks(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """Pieces of the documents, with exact character offsets, that fit the token budget of the dense models."""
    tokenizer_file = pipeline.triton.tokenizer_file(pipeline.settings.dense_models[0])
    budget = token_budget(pipeline.settings, pipeline.triton)

    with_context = any(pipeline.triton.reads_context(model) for model in pipeline.settings.dense_models)

    def work(tables: TableStore, collection: str, meter: StageMeter) -> Metadata:
        outcome = ChunkStage(tables, tokenizer_file, budget, context=with_context).run(collection, meter)
        tokens = tables.read("chunks", collection, ["token_count"])["token_count"]
        shown = ["doc_id", "chunk_index", "heading", "token_count", "text"]
        return {
            "dagster/row_count": outcome.rows,
            "documents_cut": outcome.documents_cut,
            "computed": outcome.computed,
            "deleted": outcome.deleted,
            "mean_tokens": round(float(tokens.mean() or 0), 1),  # type: ignore[arg-type]
            "token_lengths": histogram(tokens, "Tokens per chunk"),
            "preview": table_preview(tables.read("chunks", collection, shown, limit=PREVIEW_ROWS), shown),
        }

    yield from materialize_stage(context, pipeline, "chunk", work)
