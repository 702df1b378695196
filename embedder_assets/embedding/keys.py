"""Which rows of an embedding table are a model's, and which may stand in for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from embedder_assets.tables.store import TableStore

KEY = ["chunk_id", "content_sha256"]
MODEL_KEY = [*KEY, "model", "model_fingerprint"]


class ModelVersion(NamedTuple):
    """A model and what it stands for, as rows name them.

    Attributes:
        name: The column ``model``.
        fingerprint: The column ``model_fingerprint``: two models of one fingerprint give the same vectors.
    """

    name: str
    fingerprint: str

    def __repr__(self) -> str:
        # Of a plain tuple: it is a part of the input digests in the tables.
        return repr(tuple(self))


def is_of(model: ModelVersion) -> pl.Expr:
    """Whether a row is of a model."""
    return (pl.col("model") == model.name) & (pl.col("model_fingerprint") == model.fingerprint)


def vectors_of(
    store: TableStore, table: str, collection: str, models: Sequence[ModelVersion], *, where: pl.Expr | None = None
) -> pl.DataFrame:
    """The rows of some models; those of a later one only for chunks that the earlier ones have no row of.

    Args:
        store: The tables.
        table: Name of the embedding table.
        collection: Name of the collection.
        models: The first one's rows are wanted, the others' stand in.
        where: Which rows are wanted; all by default.
    """
    wanted = pl.lit(True) if where is None else where
    rows = store.read(table, collection, where=is_of(models[0]) & wanted)
    for model in models[1:]:
        stand_ins = store.read(table, collection, where=is_of(model) & wanted)
        rows = pl.concat([rows, stand_ins.join(rows, on=KEY, how="anti")])
    return rows
