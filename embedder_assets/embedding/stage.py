"""Updates an embedding table of a collection from its chunks: computes what is missing, reuses the rest.

A row's key is (chunk_id, content_sha256, model_fingerprint), so a row is valid by itself: an unchanged collection
costs no inference, and a moved text takes the vector that its text already has. Each distinct text is computed once and
staged (``tables/staging.py``); one commit then adds the new rows of all models of the table and removes the stale ones,
so a reader sees the old set or the new one, never a mixture. A text on which a model fails though it is alone is left
out and listed (``embedding/failures.py``): its row is missing, so the next run tries again.
The collection is walked in ranges of its texts' digests (``tables/digest_ranges.py``), so memory does not grow with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from embedder_assets.embedding.failures import list_failures
from embedder_assets.embedding.keys import KEY, MODEL_KEY
from embedder_assets.embedding.lexical import LEXICAL
from embedder_assets.embedding.passage import PASSAGE, passages
from embedder_assets.errors import InferenceError, TableError
from embedder_assets.serving.client.grpc import Answer, Outputs
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import FULL_RANGE, DigestRange, digest_ranges
from embedder_assets.tables.schemas import SCHEMAS, Schema
from embedder_assets.tables.staging import Staging
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

# Also what a crash can cost at most.
REQUESTS_PER_STAGED_FILE = 4
_FAILED: Schema = {name: pl.String() for name in (*MODEL_KEY, "message")}


class Encoder(Protocol):
    """What differs between the dense and the sparse stage."""

    table: str
    model: str
    fingerprint: str

    def values(self, outputs: Outputs) -> pl.DataFrame:
        """Turns a model's outputs into the table's value columns, and refuses wrong ones."""


# Called with a new model, a collection and the model's rows of it before they replace another model's; raises to keep
# the old ones. The rows come in frames, once.
AllowSwap = Callable[[Encoder, str, Iterable[pl.DataFrame]], None]


@dataclass
class PendingRows:
    """A model's rows of a collection before their commit: each missing value is staged, in the table, or failed.

    Attributes:
        encoder: The model.
        chunks: How many the collection, or its shard, has.
        wanted: Keys seen so far that the model should have rows of; in the end as many as chunks.
        missing: How many of them the table does not hold, without those that failed.
        is_new: Whether the table has no row of this fingerprint yet.
        computed: Distinct texts that the model computed.
        errors: Digest of a text to why the model failed on it.
        failed: The keys of these texts: the columns of ``MODEL_KEY`` and ``message``.
    """

    encoder: Encoder
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


@dataclass(frozen=True)
class EmbeddingOutcome:
    """What happened to one model's rows of one collection.

    Attributes:
        rows: Rows of the model in the table now.
        computed: Distinct texts that the model computed.
        reused: Rows that needed no inference.
        deleted: Rows removed because their chunk, text or fingerprint is gone; for the first model of a table also
            those of models that are no longer configured.
        coverage: Share of the chunks that have a row, 1.0 when there are none.
        failed: Chunks for which the model failed although their text was alone in its request.
    """

    rows: int
    computed: int
    reused: int
    deleted: int
    coverage: float
    failed: int = 0


@dataclass(frozen=True)
class _RowCounts:
    """What the table holds of a collection, counted and not assumed.

    Attributes:
        stale: Keys of rows that no model wants, the columns of ``MODEL_KEY``.
        rows: Model name to rows.
        covered: Model name to keys that it should have a row of, and has.
    """

    stale: pl.DataFrame
    rows: Counter[str]
    covered: Counter[str]


class EmbeddingStage:
    """Computes and publishes the rows of an embedding table, collection by collection.

    Args:
        store: The tables.
        triton: The models.
        settings: The resolved settings.
        encoders: The models whose rows the table is to have, all of one table, and how their outputs become rows.
        allow_swap: Asked before rows of another fingerprint are replaced by a model's; not asked otherwise.
    """

    def __init__(
        self,
        store: TableStore,
        triton: TritonSession,
        settings: Settings,
        encoders: Sequence[Encoder],
        allow_swap: AllowSwap | None = None,
    ) -> None:
        self._store = store
        self._triton = triton
        self._batch_size = settings.request_batch_size
        self._encoders = encoders
        self._allow_swap = allow_swap
        self._table = encoders[0].table
        schema = SCHEMAS[self._table]
        self._value_schema: Schema = {
            name: schema[name] for name in schema if name in ("embedding", "indices", "values", "source")
        }

    def run(self, collection: str, meter: StageMeter) -> list[EmbeddingOutcome]:
        """Makes the rows of the models the only ones that the table has of a collection.

        First all that is missing is computed, and staged; then one commit adds the new rows and removes the stale ones:
        those of chunks, texts, fingerprints and models that are gone, and lexical ones, for which a model's are there
        now. A crash before the commit leaves the table as it was and the staged rows for the next run. What a model
        failed on is listed before the commit.

        Args:
            collection: The collection.
            meter: Takes the batches, the items, the models and the coverage.

        Returns:
            An outcome per model, in their order.

        Raises:
            InferenceError: A model fails for any text, or for all of the collection's.
            TableError: A staged value is not there any more. The table is as it was.
        """
        pending = self.prepare(collection, meter)
        counts = self._count_rows(collection)
        self._ask_for_swap(collection, pending, counts.stale)
        failed = pl.concat([each.failed for each in pending])
        list_failures(self._store, collection, self._table.removesuffix("_embeddings"), failed)
        added = (frame for each in pending for frame in self.missing_rows(collection, each))
        self._store.delete_and_insert(self._table, collection, added, counts.stale)
        for encoder in self._encoders:
            self._staging(collection, encoder).clear()
        self._store.delete_staged()
        deleted = self._deleted(counts.stale)
        if counts.stale.height or any(each.missing for each in pending):
            counts = self._count_rows(collection)
        outcomes = [_outcome(*each, counts) for each in zip(pending, deleted, strict=True)]
        meter.models.update({encoder.model: encoder.fingerprint for encoder in self._encoders})
        meter.cover(collection, min(outcome.coverage for outcome in outcomes))
        return outcomes

    def prepare(self, collection: str, meter: StageMeter, shard: DigestRange = FULL_RANGE) -> list[PendingRows]:
        """Computes into the staging folder what neither it nor the table has, one model after the other.

        Args:
            collection: The collection.
            meter: Takes the batches and the items.
            shard: The texts that are wanted; by default all of the collection.

        Raises:
            InferenceError: A model fails for any text, or for all of the collection's.
        """
        return [self._prepare(collection, encoder, meter, shard) for encoder in self._encoders]

    def candidate_rows(self, collection: str, meter: StageMeter) -> Iterator[pl.DataFrame]:
        """The models' rows of every chunk that they do not fail on, as the table would hold them; publishes nothing.

        What the table lacks is computed and stays staged, so that a run which publishes the model computes nothing.
        """
        for each in self.prepare(collection, meter):
            for part in self._parts(collection):
                keys = self._keys(collection, each.encoder, part).join(each.failed, on=MODEL_KEY, how="anti")
                yield self._rows(collection, each.encoder, keys, part)

    def missing_rows(self, collection: str, pending: PendingRows) -> Iterator[pl.DataFrame]:
        """Whole rows for the keys that the table lacks, after ``prepare``, but those that failed; a frame per range."""
        for part in self._parts(collection) if pending.missing else []:
            lacking = self._keys(collection, pending.encoder, part)
            for rows in (self._present(collection, pending.encoder, part), pending.failed):
                lacking = lacking.join(rows, on=MODEL_KEY, how="anti")
            if lacking.height:
                yield self._rows(collection, pending.encoder, lacking, part)

    def _say_why_rows_are_stale(self, collection: str, encoder: Encoder, meter: StageMeter) -> None:
        of_another = (pl.col("model") == encoder.model) & ~_own(encoder)
        stale = self._store.read(self._table, collection, ["model_fingerprint"], where=of_another, limit=1)
        for fingerprint in stale["model_fingerprint"]:
            if (words := self._triton.precision_change(encoder.model, fingerprint)) is not None:
                meter.note(words)

    def _prepare(self, collection: str, encoder: Encoder, meter: StageMeter, shard: DigestRange) -> PendingRows:
        pending = PendingRows(encoder, self._chunk_count(collection, shard))
        for part in filter(None, (part.within(shard) for part in self._parts(collection))):
            # Staged rows first: what another host publishes is in the table before it is staged no more.
            staged = self._staging(collection, encoder).read({"content_sha256": pl.String()}, part)
            keys, present = self._keys(collection, encoder, part), self._present(collection, encoder, part)
            pending.is_new = pending.is_new and not present.height
            lacking = keys.join(present, on=MODEL_KEY, how="anti")
            pending.wanted += keys.height
            if lacking.height and pending.is_new and not pending.missing:
                self._say_why_rows_are_stale(collection, encoder, meter)
            pending.missing += lacking.height
            # A moved text takes the value that it has here; what was staged before a kill need not be computed again.
            for rows in (present, staged):
                keys = keys.join(rows, on="content_sha256", how="anti")
            if keys.height:
                self._compute(collection, keys["content_sha256"].unique(), part, pending, meter)
            meter.progress(collection, pending.wanted, pending.chunks)
            failed = lacking.join(_messages(pending.errors), on="content_sha256")
            pending.failed = pl.concat([pending.failed, failed])
        pending.missing -= pending.failed.height
        meter.count("reused", pending.reused)
        _report_failures(collection, pending, meter)
        return pending

    def _compute(
        self, collection: str, digests: pl.Series, part: DigestRange, pending: PendingRows, meter: StageMeter
    ) -> None:
        """Stages the values of distinct texts of a range, and notes which failed."""
        encoder, wanted = pending.encoder, part.rows & pl.col("content_sha256").is_in(digests.implode())
        texts = self._store.read("chunks", collection, ["content_sha256", *PASSAGE, "token_count"], where=wanted)
        # The longest first: what remains at the end is short, so no core waits long for another. Equal ones in the
        # order of their digest, so that a run does the same again.
        texts = texts.unique("content_sha256").sort(["token_count", "content_sha256"], descending=[True, False])
        frames = list(texts.iter_slices(self._batch_size))
        context = self._triton.reads_context(encoder.model)
        requests = ([(text,) for text in passages(frame, context=context)] for frame in frames)
        before, done, unstaged = pending.wanted - texts.height, 0, []
        answers = self._triton.infer_many(encoder.model, requests, observer=meter)
        for frame, answer in zip(frames, answers, strict=True):
            unstaged.append(_values(encoder, frame, answer))
            failed = {frame["content_sha256"][each.position]: each.error for each in answer.failures}
            pending.errors.update(failed)
            pending.computed += answer.rows
            meter.count("computed", answer.rows)
            done += frame.height
            meter.progress(collection, before + done, pending.chunks)
            if len(unstaged) == REQUESTS_PER_STAGED_FILE or done == texts.height:
                rows = pl.concat(unstaged)
                if rows.height:
                    self._staging(collection, encoder).append(rows)
                unstaged = []

    def _ask_for_swap(self, collection: str, pending: Sequence[PendingRows], stale: pl.DataFrame) -> None:
        """Shows the rows of models that replace another one to whoever may refuse them."""
        replaced = stale.filter(pl.col("model") != LEXICAL)
        is_swap = not set(replaced["model_fingerprint"]) <= {encoder.fingerprint for encoder in self._encoders}
        for each in pending:
            if self._allow_swap is not None and is_swap and each.is_new and each.missing:
                self._allow_swap(each.encoder, collection, self.missing_rows(collection, each))

    def _rows(self, collection: str, encoder: Encoder, keys: pl.DataFrame, part: DigestRange) -> pl.DataFrame:
        """Whole rows for keys that were prepared, with the values of their texts from the table and from staging.

        Raises:
            TableError: A value is not there any more.
        """
        columns: Schema = {"content_sha256": pl.String(), **self._value_schema}
        # Never more digests than a range has, so the condition stays small.
        of_keys = pl.col("content_sha256").is_in(keys["content_sha256"].unique().implode())
        # In this order, see ``_prepare``.
        staged = self._staging(collection, encoder).read(columns, part)
        published = self._store.read(self._table, collection, list(columns), where=_own(encoder) & part.rows)
        values = pl.concat([published, staged]).filter(of_keys).unique("content_sha256", keep="first")
        rows = keys.join(values, on="content_sha256").with_columns(collection=pl.lit(collection))
        if rows.height != keys.height:
            raise TableError(
                f"staged rows of model '{encoder.model}' for collection '{collection}'",
                expected=f"a value for each of {keys.height} chunks",
                got=f"{rows.height}: files in {self._staging(collection, encoder).address} have gone or are damaged",
                remedy="Nothing was published. Run again: what is missing is computed anew.",
            )
        return rows.select(list(SCHEMAS[self._table]))

    def _count_rows(self, collection: str) -> _RowCounts:
        stale, rows, covered = [], Counter[str](), Counter[str]()
        for part in self._parts(collection):
            present = self._store.read(self._table, collection, MODEL_KEY, where=part.rows)
            wanted = pl.concat([self._keys(collection, encoder, part) for encoder in self._encoders])
            stale.append(present.join(wanted, on=MODEL_KEY, how="anti"))
            rows.update(dict(present["model"].value_counts().iter_rows()))
            covered.update(dict(wanted.join(present, on=MODEL_KEY, how="semi")["model"].value_counts().iter_rows()))
        return _RowCounts(pl.concat(stale), rows, covered)

    def _deleted(self, stale: pl.DataFrame) -> list[int]:
        """Stale rows of each model; those of models that are no longer configured count with the first one's."""
        counts = Counter(stale["model"])
        own = [counts.pop(encoder.model, 0) for encoder in self._encoders]
        return [own[0] + counts.total(), *own[1:]]

    def _parts(self, collection: str) -> list[DigestRange]:
        """The ranges in which the collection is walked."""
        return digest_ranges(self._store.count("chunks", collection))

    def _chunk_count(self, collection: str, shard: DigestRange) -> int:
        if shard == FULL_RANGE:
            return self._store.count("chunks", collection)
        return self._store.read("chunks", collection, ["content_sha256"], where=shard.rows).height

    def _keys(self, collection: str, encoder: Encoder, part: DigestRange) -> pl.DataFrame:
        """The keys that a model should have rows of: the columns of ``MODEL_KEY``."""
        chunks = self._store.read("chunks", collection, KEY, where=part.rows)
        return chunks.with_columns(model=pl.lit(encoder.model), model_fingerprint=pl.lit(encoder.fingerprint))

    def _present(self, collection: str, encoder: Encoder, part: DigestRange) -> pl.DataFrame:
        return self._store.read(self._table, collection, MODEL_KEY, where=_own(encoder) & part.rows)

    def _staging(self, collection: str, encoder: Encoder) -> Staging:
        """Where a model's computed rows wait."""
        return self._store.staging(self._table, collection, encoder.fingerprint)


def _own(encoder: Encoder) -> pl.Expr:
    # By fingerprint alone: a model under a new name has the values already.
    return pl.col("model_fingerprint") == encoder.fingerprint


def _values(encoder: Encoder, frame: pl.DataFrame, answer: Answer) -> pl.DataFrame:
    values = encoder.values(answer.outputs)
    return values.with_columns(frame["content_sha256"].gather(answer.answered))


def _messages(errors: dict[str, InferenceError]) -> pl.DataFrame:
    """What the server said of each text that failed."""
    columns = {"content_sha256": list(errors), "message": [error.got for error in errors.values()]}
    return pl.DataFrame(columns, schema={"content_sha256": pl.String, "message": pl.String})


def _report_failures(collection: str, pending: PendingRows, meter: StageMeter) -> None:
    """Names the chunks that failed; where none is left, it is not the texts."""
    errors, model = pending.errors, pending.encoder.model
    for kind in sorted({error.kind for error in errors.values()}):
        of_kind = [digest for digest, error in errors.items() if error.kind == kind]
        chunks = pending.failed.filter(pl.col("content_sha256").is_in(of_kind))["chunk_id"].sort()
        meter.items_failed(model, chunks.to_list(), kind)
    if errors and pending.failed.height == pending.wanted:
        raise InferenceError(
            f"model '{model}' on collection '{collection}'",
            expected="an answer for one of its chunks at least",
            got=f"a failure for each of {pending.wanted}, for example: {next(iter(errors.values())).got}",
            remedy="The table is as it was. `embedder models verify` tells whether the model is whole.",
        )


def _outcome(pending: PendingRows, deleted: int, counts: _RowCounts) -> EmbeddingOutcome:
    model = pending.encoder.model
    return EmbeddingOutcome(
        rows=counts.rows[model],
        computed=pending.computed,
        reused=pending.reused,
        deleted=deleted,
        coverage=counts.covered[model] / pending.wanted if pending.wanted else 1.0,
        failed=pending.failed.height,
    )
