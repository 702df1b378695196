"""Computes the rows of an embedding table that are missing, each distinct text once, and removes the stale ones.

A row's key is (chunk_id, content_sha256, model_fingerprint), so a row is valid by itself: an unchanged collection
costs no inference, and a moved text takes the vector that its text already has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from embedder_assets.serving.client import Outputs
from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.schemas import SCHEMAS, Schema
from embedder_assets.tables.staging import Staging
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.record import StageMeter

KEY = ["chunk_id", "content_sha256"]
# Requests between two commits to the staging folder: what a crash can cost at most.
REQUESTS_A_COMMIT = 4


class Encoder(Protocol):
    """What differs between the dense and the sparse stage."""

    table: str
    model: str
    fingerprint: str

    def values(self, outputs: Outputs) -> pl.DataFrame:
        """Turns a model's outputs into the table's value columns, and refuses wrong ones."""


@dataclass(frozen=True)
class EmbedOutcome:
    """What happened to one collection.

    Attributes:
        rows: Rows of the collection in the table now.
        computed: Distinct texts that were sent to the model.
        reused: Rows that needed no inference.
        deleted: Rows removed because their chunk, text or model is gone.
        coverage: Share of the chunks that have a row, 1.0 when there are none.
    """

    rows: int
    computed: int
    reused: int
    deleted: int
    coverage: float


class EmbeddingStage:
    """Brings one embedding table up to date, collection by collection."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, encoder: Encoder) -> None:
        self._store = store
        self._triton = triton
        self._home = settings.home
        self._batch_size = settings.request_batch_size
        self._encoder = encoder
        schema = SCHEMAS[encoder.table]
        self._value_schema: Schema = {
            name: schema[name] for name in schema if name in ("embedding", "indices", "values", "source")
        }

    def run(self, collection: str, meter: StageMeter) -> EmbedOutcome:
        """Computes what is missing, publishes it in one commit, then deletes what is stale."""
        wanted = self._store.read("chunks", collection, [*KEY, "text", "token_count"])
        present = self._present(collection)
        missing = wanted.select(KEY).join(present, on=KEY, how="anti")
        staging = Staging(self._home, self._encoder.table, collection, self._encoder.fingerprint)
        known = self._known_values(collection, missing, staging)
        to_compute = self._distinct_texts(wanted, missing, known)
        meter.count("reused", wanted.height - to_compute.height)
        if to_compute.height:
            self._compute(collection, to_compute, staging, meter)
            known = self._known_values(collection, missing, staging)
        if missing.height:
            self._store.append(self._encoder.table, self._rows(collection, missing.join(known, on="content_sha256")))
        staging.clear()
        deleted = self._delete_stale(collection, wanted)
        rows = self._present(collection)
        covered = wanted.join(rows, on=KEY, how="semi").height
        meter.coverage[collection] = covered / wanted.height if wanted.height else 1.0
        return EmbedOutcome(
            rows=rows.height,
            computed=to_compute.height,
            reused=wanted.height - to_compute.height,
            deleted=deleted,
            coverage=meter.coverage[collection],
        )

    def _present(self, collection: str) -> pl.DataFrame:
        rows = self._store.read(self._encoder.table, collection, [*KEY, "model_fingerprint"])
        return rows.filter(pl.col("model_fingerprint") == self._encoder.fingerprint).select(KEY)

    def _known_values(self, collection: str, missing: pl.DataFrame, staging: Staging) -> pl.DataFrame:
        """Values by text, for the missing rows: of equal texts in the table, and of an interrupted run."""
        columns = ["content_sha256", *self._value_schema]
        staged = staging.read({"content_sha256": pl.String(), **self._value_schema}).select(columns)
        if not missing.height:
            return staged.clear()
        table = self._store.read(self._encoder.table, collection, [*columns, "model_fingerprint"])
        table = table.filter(pl.col("model_fingerprint") == self._encoder.fingerprint).select(columns)
        known = pl.concat([table, staged]).join(missing, on="content_sha256", how="semi")
        return known.unique("content_sha256", keep="first")

    def _distinct_texts(self, wanted: pl.DataFrame, missing: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
        texts = wanted.join(missing, on=KEY, how="semi").unique("content_sha256", maintain_order=True)
        return texts.join(known, on="content_sha256", how="anti")

    def _compute(self, collection: str, texts: pl.DataFrame, staging: Staging, meter: StageMeter) -> None:
        # The longest first: what remains at the end is short, so no core waits long for another.
        texts = texts.sort("token_count", descending=True)
        frames = list(texts.iter_slices(self._batch_size))
        requests = ([(text,) for text in frame["text"]] for frame in frames)
        done, uncommitted = 0, []
        for frame, answer in zip(frames, self._triton.infer_many(self._encoder.model, requests), strict=True):
            values = self._encoder.values(answer.outputs)
            uncommitted.append(values.with_columns(frame["content_sha256"]))
            meter.batch(answer.latency_s, frame.height)
            meter.count("computed", frame.height)
            done += frame.height
            meter.progress(collection, done, texts.height)
            if len(uncommitted) == REQUESTS_A_COMMIT or done == texts.height:
                staging.append(pl.concat(uncommitted))
                meter.sample_gpu()
                uncommitted = []

    def _rows(self, collection: str, keyed_values: pl.DataFrame) -> pl.DataFrame:
        return keyed_values.with_columns(
            collection=pl.lit(collection),
            model=pl.lit(self._encoder.model),
            model_fingerprint=pl.lit(self._encoder.fingerprint),
        )

    def _delete_stale(self, collection: str, wanted: pl.DataFrame) -> int:
        rows = self._store.read(self._encoder.table, collection, [*KEY, "model_fingerprint"])
        kept = wanted.select(KEY).with_columns(model_fingerprint=pl.lit(self._encoder.fingerprint))
        gone = rows.join(kept, on=rows.columns, how="anti")
        return self._store.delete_rows(self._encoder.table, collection, gone)
