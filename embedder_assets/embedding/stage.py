"""Computes the rows of an embedding table that are missing, each distinct text once.

A row's key is (chunk_id, content_sha256, model_fingerprint), so a row is valid by itself: an unchanged collection
costs no inference, and a moved text takes the vector that its text already has. What is computed is staged until
``embedding/publish.py`` commits all of it. A text on which a model fails though it is alone is left out and listed
(``embedding/failures.py``): its row is missing, so the next run tries again.
The collection is walked in ranges of its texts' digests (``tables/digest_ranges.py``), so memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from embedder_assets.embedding.keys import KEY, MODEL_KEY
from embedder_assets.errors import InferenceError, TableError
from embedder_assets.serving.client.grpc import Answer, Outputs
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import ALL, DigestRange, digest_ranges
from embedder_assets.tables.schemas import SCHEMAS, Schema
from embedder_assets.tables.staging import Staging
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

# Requests between two commits to the staging folder: what a crash can cost at most.
REQUESTS_A_COMMIT = 4
_FAILED: Schema = {name: pl.String() for name in (*MODEL_KEY, "message")}


class Encoder(Protocol):
    """What differs between the dense and the sparse stage."""

    table: str
    model: str
    fingerprint: str

    def values(self, outputs: Outputs) -> pl.DataFrame:
        """Turns a model's outputs into the table's value columns, and refuses wrong ones."""


# Called with a collection and a new model's rows before they replace another model's; raises to keep the old ones. The
# rows come in frames, once.
AllowSwap = Callable[[str, Iterable[pl.DataFrame]], None]


@dataclass
class Prepared:
    """A model's part of a collection, all of whose missing values are in the table or staged, or failed.

    Attributes:
        chunks: How many the collection, or its shard, has.
        wanted: Keys seen so far that the model should have rows of; in the end as many as chunks.
        missing: How many of them the table does not hold, without those that failed.
        is_new: Whether the table has no row of this fingerprint yet.
        computed: Distinct texts that the model computed.
        errors: Digest of a text to why the model failed on it.
        failed: The keys of these texts: the columns of ``MODEL_KEY`` and ``message``.
    """

    chunks: int
    wanted: int = 0
    missing: int = 0
    is_new: bool = True
    computed: int = 0
    errors: dict[str, InferenceError] = field(default_factory=dict)
    failed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_FAILED))

    @property
    def reused(self) -> int:
        """Keys that needed no inference."""
        return self.wanted - self.failed.height - self.computed


class EmbeddingStage:
    """One model's part of an embedding table, collection by collection.

    Args:
        store: The tables.
        triton: The models.
        settings: The resolved settings.
        encoder: The model, and how its outputs become rows.
        allow_swap: Asked before rows of another fingerprint are replaced by this model's; not asked otherwise.
    """

    def __init__(
        self,
        store: TableStore,
        triton: TritonSession,
        settings: Settings,
        encoder: Encoder,
        allow_swap: AllowSwap | None = None,
    ) -> None:
        self.encoder = encoder
        self.allow_swap = allow_swap
        self.store = store
        self._triton = triton
        self._batch_size = settings.request_batch_size
        schema = SCHEMAS[encoder.table]
        self._value_schema: Schema = {
            name: schema[name] for name in schema if name in ("embedding", "indices", "values", "source")
        }

    def candidate_rows(self, collection: str, meter: StageMeter) -> Iterator[pl.DataFrame]:
        """This model's row of every chunk that it does not fail on, as the table would hold it; publishes nothing.

        What the table lacks is computed and stays staged, so that a run which publishes the model computes nothing.
        """
        failed = self.prepare(collection, meter).failed
        for part in self.parts(collection):
            keys = self.keys(collection, part).join(failed, on=MODEL_KEY, how="anti")
            yield self._rows(collection, keys, part)

    def prepare(self, collection: str, meter: StageMeter, shard: DigestRange = ALL) -> Prepared:
        """Computes into the staging folder what neither it nor the table has.

        Args:
            collection: The collection.
            meter: Takes the batches and the items.
            shard: The texts that are wanted; by default all of the collection.

        Raises:
            InferenceError: The model fails for any text, or for all of the collection's.
        """
        prepared = Prepared(self._chunks(collection, shard))
        for part in filter(None, (part.within(shard) for part in self.parts(collection))):
            # Staged rows first: what another host publishes is in the table before it is staged no more.
            staged = self.staging(collection).read({"content_sha256": pl.String()}, part)
            keys, present = self.keys(collection, part), self._present(collection, part)
            prepared.is_new = prepared.is_new and not present.height
            lacking = keys.join(present, on=MODEL_KEY, how="anti")
            prepared.wanted += keys.height
            prepared.missing += lacking.height
            # A moved text takes the value that it has here; what was staged before a kill need not be computed again.
            for rows in (present, staged):
                keys = keys.join(rows, on="content_sha256", how="anti")
            if keys.height:
                self._compute(collection, keys["content_sha256"].unique(), part, prepared, meter)
            meter.progress(collection, prepared.wanted, prepared.chunks)
            failed = lacking.join(_messages(prepared.errors), on="content_sha256")
            prepared.failed = pl.concat([prepared.failed, failed])
        prepared.missing -= prepared.failed.height
        meter.count("reused", prepared.reused)
        self._report(collection, prepared, meter)
        return prepared

    def missing_rows(self, collection: str, prepared: Prepared) -> Iterator[pl.DataFrame]:
        """Whole rows for the keys that the table lacks, after ``prepare``, but those that failed; a frame a range."""
        for part in self.parts(collection) if prepared.missing else []:
            lacking = self.keys(collection, part).join(self._present(collection, part), on=MODEL_KEY, how="anti")
            lacking = lacking.join(prepared.failed, on=MODEL_KEY, how="anti")
            if lacking.height:
                yield self._rows(collection, lacking, part)

    def parts(self, collection: str) -> list[DigestRange]:
        """The ranges in which the collection is walked."""
        return digest_ranges(self.store.count("chunks", collection))

    def keys(self, collection: str, part: DigestRange) -> pl.DataFrame:
        """The keys that the model should have rows of: the columns of ``MODEL_KEY``."""
        chunks = self.store.read("chunks", collection, KEY, where=part.rows)
        return chunks.with_columns(model=pl.lit(self.encoder.model), model_fingerprint=pl.lit(self._fingerprint))

    def _chunks(self, collection: str, shard: DigestRange) -> int:
        if shard == ALL:
            return self.store.count("chunks", collection)
        return self.store.read("chunks", collection, ["content_sha256"], where=shard.rows).height

    def _present(self, collection: str, part: DigestRange) -> pl.DataFrame:
        return self.store.read(self.encoder.table, collection, MODEL_KEY, where=self._own & part.rows)

    def _rows(self, collection: str, keys: pl.DataFrame, part: DigestRange) -> pl.DataFrame:
        """Whole rows for keys that were prepared, with the values of their texts from the table and from staging.

        Raises:
            TableError: A value is not there any more.
        """
        columns: Schema = {"content_sha256": pl.String(), **self._value_schema}
        # Never more digests than a range has, so the condition stays small.
        of_keys = pl.col("content_sha256").is_in(keys["content_sha256"].unique().implode())
        # In this order, see ``prepare``.
        staged = self.staging(collection).read(columns, part)
        published = self.store.read(self.encoder.table, collection, list(columns), where=self._own & part.rows)
        values = pl.concat([published, staged]).filter(of_keys).unique("content_sha256", keep="first")
        rows = keys.join(values, on="content_sha256").with_columns(collection=pl.lit(collection))
        if rows.height != keys.height:
            raise TableError(
                f"staged rows of model '{self.encoder.model}' for collection '{collection}'",
                expected=f"a value for each of {keys.height} chunks",
                got=f"{rows.height}: files in {self.staging(collection).address} have gone or are damaged",
                remedy="Nothing was published. Run again: what is missing is computed anew.",
            )
        return rows.select(list(SCHEMAS[self.encoder.table]))

    def staging(self, collection: str) -> Staging:
        """Where this model's computed rows wait."""
        return self.store.staging(self.encoder.table, collection, self._fingerprint)

    @property
    def _fingerprint(self) -> str:
        return self.encoder.fingerprint

    @property
    def _own(self) -> pl.Expr:
        # By fingerprint alone: a model under a new name has the values already.
        return pl.col("model_fingerprint") == self._fingerprint

    def _compute(
        self, collection: str, digests: pl.Series, part: DigestRange, prepared: Prepared, meter: StageMeter
    ) -> None:
        """Stages the values of distinct texts of a range, and notes which failed."""
        wanted = part.rows & pl.col("content_sha256").is_in(digests.implode())
        texts = self.store.read("chunks", collection, ["content_sha256", "text", "token_count"], where=wanted)
        # The longest first: what remains at the end is short, so no core waits long for another. Equal ones in the
        # order of their digest, so that a run does the same again.
        texts = texts.unique("content_sha256").sort(["token_count", "content_sha256"], descending=[True, False])
        frames = list(texts.iter_slices(self._batch_size))
        requests = ([(text,) for text in frame["text"]] for frame in frames)
        before, done, uncommitted = prepared.wanted - texts.height, 0, []
        answers = self._triton.infer_many(self.encoder.model, requests, observer=meter)
        for frame, answer in zip(frames, answers, strict=True):
            uncommitted.append(self._values(frame, answer))
            failed = {frame["content_sha256"][each.position]: each.error for each in answer.failures}
            prepared.errors.update(failed)
            prepared.computed += answer.rows
            meter.count("computed", answer.rows)
            done += frame.height
            meter.progress(collection, before + done, prepared.chunks)
            if len(uncommitted) == REQUESTS_A_COMMIT or done == texts.height:
                rows = pl.concat(uncommitted)
                if rows.height:
                    self.staging(collection).append(rows)
                uncommitted = []

    def _values(self, frame: pl.DataFrame, answer: Answer) -> pl.DataFrame:
        values = self.encoder.values(answer.outputs)
        return values.with_columns(frame["content_sha256"].gather(answer.answered))

    def _report(self, collection: str, prepared: Prepared, meter: StageMeter) -> None:
        """Names the chunks that failed; where none is left, it is not the texts."""
        errors = prepared.errors
        for kind in sorted({error.kind for error in errors.values()}):
            of_kind = [digest for digest, error in errors.items() if error.kind == kind]
            chunks = prepared.failed.filter(pl.col("content_sha256").is_in(of_kind))["chunk_id"].sort()
            meter.items_failed(self.encoder.model, chunks.to_list(), kind)
        if errors and prepared.failed.height == prepared.wanted:
            raise InferenceError(
                f"model '{self.encoder.model}' on collection '{collection}'",
                expected="an answer for one of its chunks at least",
                got=f"a failure for each of {prepared.wanted}, for example: {next(iter(errors.values())).got}",
                remedy="The table is as it was. `embedder models verify` tells whether the model is whole.",
            )


def _messages(errors: dict[str, InferenceError]) -> pl.DataFrame:
    """What the server said of each text that failed."""
    columns = {"content_sha256": list(errors), "message": [error.got for error in errors.values()]}
    return pl.DataFrame(columns, schema={"content_sha256": pl.String, "message": pl.String})
