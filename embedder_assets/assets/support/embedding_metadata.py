"""The metadata that Dagster shows of the two embedding assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import dagster as dg

from embedder_assets.assets.support.materialize import Metadata
from embedder_assets.assets.support.preview import PREVIEW_ROWS, rate, table_preview
from embedder_assets.embedding.stage import EmbeddingOutcome, Encoder
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter, Tokenization


def embedding_metadata(
    tables: TableStore,
    collection: str,
    encoders: Sequence[Encoder],
    outcomes: Sequence[EmbeddingOutcome],
    seconds: float,
) -> Metadata:
    """Counts, coverage and some rows of a collection, of all models of a table together and of each.

    Args:
        tables: The tables.
        collection: The collection.
        encoders: The models.
        outcomes: What happened to the rows of each.
        seconds: How long it took.
    """
    computed = sum(outcome.computed for outcome in outcomes)
    rows = tables.read(encoders[0].table, collection, limit=PREVIEW_ROWS)
    return {
        "dagster/row_count": sum(outcome.rows for outcome in outcomes),
        "computed": computed,
        "reused": sum(outcome.reused for outcome in outcomes),
        "deleted": sum(outcome.deleted for outcome in outcomes),
        "failed": sum(outcome.failed for outcome in outcomes),
        "coverage_ratio": min(outcome.coverage for outcome in outcomes),
        "texts_per_second": rate(computed, seconds),
        "models": dg.MetadataValue.json(
            {
                encoder.model: {"fingerprint": encoder.fingerprint, **asdict(outcome)}
                for encoder, outcome in zip(encoders, outcomes, strict=True)
            }
        ),
        "preview": table_preview(rows, [name for name in rows.columns if name != "collection"]),
    }


def record_tokenization(meter: StageMeter, collection: str, read: Mapping[str, Tokenization]) -> Metadata:
    """Records what each model can read of a collection's texts; the worst of all models is a figure of its own."""
    meter.tokenization[collection] = dict(read)
    if not read:
        return {}
    return {
        "unknown_ratio": max(each.unknown for each in read.values()),
        "spelled_out_ratio": max(each.spelled_out for each in read.values()),
        "truncated_ratio": max(each.truncated for each in read.values()),
        "tokenization": dg.MetadataValue.json({model: each.model_dump() for model, each in read.items()}),
    }
