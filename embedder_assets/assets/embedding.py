"""What the two embedding assets share: running the stage, and the metadata that Dagster shows."""

from __future__ import annotations

import time

from embedder_assets.assets.materialize import Metadata
from embedder_assets.assets.preview import rate, table_preview
from embedder_assets.pipeline import Pipeline
from embedder_assets.stages.embed import EmbeddingStage, Encoder
from embedder_assets.telemetry.record import StageMeter


def embed_collection(pipeline: Pipeline, encoder: Encoder, collection: str, meter: StageMeter) -> Metadata:
    """Brings a collection's rows of an embedding table up to date and describes them."""
    started = time.monotonic()
    outcome = EmbeddingStage(pipeline.store, pipeline.triton, pipeline.settings, encoder).run(collection, meter)
    rows = pipeline.store.read(encoder.table, collection)
    return {
        "dagster/row_count": outcome.rows,
        "computed": outcome.computed,
        "reused": outcome.reused,
        "deleted": outcome.deleted,
        "coverage_ratio": outcome.coverage,
        "texts_per_second": rate(outcome.computed, time.monotonic() - started),
        "model": encoder.model,
        "model_fingerprint": encoder.fingerprint,
        "preview": table_preview(rows, [name for name in rows.columns if name not in ("collection", "model")]),
    }
