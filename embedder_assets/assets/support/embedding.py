"""What the two embedding assets share: running the stage, and the metadata that Dagster shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import dagster as dg

from embedder_assets.assets.support.materialize import Metadata
from embedder_assets.assets.support.preview import PREVIEW_ROWS, rate, table_preview
from embedder_assets.embedding.stage import EmbeddingStage, Encoder
from embedder_assets.evaluation.model_gate import ModelGate
from embedder_assets.run_context import Pipeline
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


def embed_collection(
    pipeline: Pipeline, tables: TableStore, encoders: Sequence[Encoder], collection: str, meter: StageMeter
) -> Metadata:
    """Updates a collection's rows of an embedding table for all models of the table, and describes them."""
    started = time.monotonic()
    gate = ModelGate(tables, pipeline.triton, pipeline.settings, meter)
    stage = EmbeddingStage(tables, pipeline.triton, pipeline.settings, encoders, gate)
    outcomes = stage.run(collection, meter)
    coverage = min(outcome.coverage for outcome in outcomes)
    meter.cover(collection, coverage)
    meter.models.update({encoder.model: encoder.fingerprint for encoder in encoders})
    computed = sum(outcome.computed for outcome in outcomes)
    rows = tables.read(encoders[0].table, collection, limit=PREVIEW_ROWS)
    return {
        "dagster/row_count": sum(outcome.rows for outcome in outcomes),
        "computed": computed,
        "reused": sum(outcome.reused for outcome in outcomes),
        "deleted": sum(outcome.deleted for outcome in outcomes),
        "failed": sum(outcome.failed for outcome in outcomes),
        "coverage_ratio": coverage,
        "texts_per_second": rate(computed, time.monotonic() - started),
        "models": dg.MetadataValue.json(
            {
                encoder.model: {"fingerprint": encoder.fingerprint, **asdict(outcome)}
                for encoder, outcome in zip(encoders, outcomes, strict=True)
            }
        ),
        "preview": table_preview(rows, [name for name in rows.columns if name != "collection"]),
    }
