"""``exports``: the finished tables of a collection as files for other systems."""

import time

import dagster as dg

from embedder_assets.assets.evaluation import evaluation
from embedder_assets.assets.fused_candidates import fused_candidates
from embedder_assets.assets.reranked_candidates import reranked_candidates
from embedder_assets.assets.support.materialize import Events, Metadata, collection_asset, materialize_stage
from embedder_assets.export.export import ExportStage
from embedder_assets.export.s3_delivery import MANIFEST
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

MIB = 2**20


@collection_asset(
    # Not read, but its blocking checks are the gate that worse rankings do not pass.
    deps=[fused_candidates, reranked_candidates, evaluation],
    group_name="delivery",
    kinds={"parquet", "numpy", "qdrant"},
    tags={"stage": "export"},
)
def exports(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Events:
    """Parquet, NumPy and Qdrant-ready JSON lines, with a manifest of sizes and SHA-256 digests."""
    sizes: list[int] = []

    def work(tables: TableStore, collection: str, meter: StageMeter) -> Metadata:
        started = time.monotonic()
        models = RetrievalModels.of(pipeline.settings, pipeline.triton)
        outcome = ExportStage(tables, pipeline.settings, models).run(collection)
        if outcome.written:
            meter.batch(time.monotonic() - started, len(outcome.files))
        meter.count("computed" if outcome.written else "reused", len(outcome.files))
        sizes.extend(outcome.files.values())
        meter.attributes |= {"file_count": len(sizes), "total_size_mb": round(sum(sizes) / MIB, 3)}
        return {
            "folder": dg.MetadataValue.path(outcome.folder),
            "manifest": dg.MetadataValue.path(outcome.folder / MANIFEST),
            "files": dg.MetadataValue.json(outcome.files),
            "size_mb": round(sum(outcome.files.values()) / MIB, 3),
        }

    yield from materialize_stage(context, pipeline, "export", work)
