"""The texts on which a model failed though each was alone: why a row is missing, for everybody who looks for it.

The stages that embed chunks and queries write it with every run, before they publish: a row that is missing is either
listed here or a defect.
"""

from __future__ import annotations

import polars as pl

from embedder_assets.embedding.keys import KEY, ModelVersion, is_of
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

TABLE = "inference_issues"
ROW_KEY = ["collection", *KEY]


def known_failures(store: TableStore, collection: str, model: ModelVersion) -> pl.DataFrame:
    """The listed chunks of a collection that a model, given by name and fingerprint, has no row of.

    Returns:
        Columns collection, chunk_id, content_sha256, sorted by chunk.
    """
    return store.read(TABLE, collection, ROW_KEY, where=is_of(model)).drop_nulls("chunk_id").sort("chunk_id")


def known_failures_on_queries(store: TableStore, collection: str, model: ModelVersion) -> pl.DataFrame:
    """The queries of a collection that a model, given by name and fingerprint, has no ranking for: column query_id."""
    return store.read(TABLE, collection, ["query_id"], where=is_of(model)).drop_nulls()


def list_failures(store: TableStore, collection: str, stage: str, failures: pl.DataFrame) -> None:
    """Makes some failures the only ones that a collection has of a stage; writes nothing where they already are.

    Args:
        store: The tables.
        collection: Name of the collection.
        stage: ``dense``, ``sparse`` or ``fuse``. What other stages have listed stays.
        failures: Columns model, model_fingerprint, message, and chunk_id with content_sha256, or query_id.
    """
    others = store.read(TABLE, collection, where=pl.col("stage") != stage)
    own = failures.with_columns(collection=pl.lit(collection), stage=pl.lit(stage))
    rows = pl.concat([others, own], how="diagonal").select(list(SCHEMAS[TABLE]))
    if rows.height or store.count(TABLE, collection):
        store.replace(TABLE, collection, rows)
