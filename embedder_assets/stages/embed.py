"""Computes the rows of an embedding table that are missing, each distinct text once, and removes the stale ones.

A row's key is (chunk_id, content_sha256, model_fingerprint), so a row is valid by itself: an unchanged collection
costs no inference, and a moved text takes the vector that its text already has. New rows come and stale rows go in one
commit, for all models of the table: a reader sees the old set or the new one, never a mixture. A text on which a model
fails though it is alone is left out and listed (``stages/issues.py``): its row is missing, so the next run tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from embedder_assets.errors import InferenceError, TableError
from embedder_assets.serving.client import Answer, Outputs
from embedder_assets.serving.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.stages.issues import list_failures
from embedder_assets.stages.lexical import LEXICAL
from embedder_assets.stages.vectors import KEY, MODEL_KEY
from embedder_assets.tables.schemas import SCHEMAS, Schema
from embedder_assets.tables.staging import Staging, forget_unused
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.record import StageMeter

# Requests between two commits to the staging folder: what a crash can cost at most.
REQUESTS_A_COMMIT = 4


class Encoder(Protocol):
    """What differs between the dense and the sparse stage."""

    table: str
    model: str
    fingerprint: str

    def values(self, outputs: Outputs) -> pl.DataFrame:
        """Turns a model's outputs into the table's value columns, and refuses wrong ones."""


# Called with a collection and a new model's rows before they replace another model's; raises to keep the old ones.
Admit = Callable[[str, pl.DataFrame], None]


@dataclass(frozen=True)
class EmbedOutcome:
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
class _Prepared:
    """A model's part of a collection, all of whose missing values are in the table or staged, or failed.

    Attributes:
        wanted: The keys that the model should have rows of, with its name and fingerprint.
        missing: Those of them that the table does not hold, without those that failed.
        failed: Those of them for which the model failed, each with a ``message``.
        is_new: Whether the table has no row of this fingerprint yet.
        computed: Distinct texts that the model computed for it.
    """

    wanted: pl.DataFrame
    missing: pl.DataFrame
    failed: pl.DataFrame
    is_new: bool
    computed: int

    @property
    def reused(self) -> int:
        """Keys that needed no inference."""
        return self.wanted.height - self.failed.height - self.computed


class EmbeddingStage:
    """One model's part of an embedding table, collection by collection.

    Args:
        store: The tables.
        triton: The models.
        settings: The resolved settings.
        encoder: The model, and how its outputs become rows.
        admit: Asked before rows of another fingerprint are replaced by this model's; not asked otherwise.
    """

    def __init__(
        self,
        store: TableStore,
        triton: TritonSession,
        settings: Settings,
        encoder: Encoder,
        admit: Admit | None = None,
    ) -> None:
        self.encoder = encoder
        self.admit = admit
        self.store = store
        self.home = settings.home
        self._triton = triton
        self._batch_size = settings.request_batch_size
        schema = SCHEMAS[encoder.table]
        self._value_schema: Schema = {
            name: schema[name] for name in schema if name in ("embedding", "indices", "values", "source")
        }

    def run(self, collection: str, meter: StageMeter) -> EmbedOutcome:
        """Makes this model's rows the collection's only ones; see ``embed_together``."""
        return embed_together([self], collection, meter)[0]

    def candidate_rows(self, collection: str, meter: StageMeter) -> pl.DataFrame:
        """This model's row of every chunk that it does not fail on, as the table would hold it; publishes nothing.

        What the table lacks is computed and stays staged, so that a run which publishes the model computes nothing.
        """
        prepared = self.prepare(collection, meter)
        return self.rows(collection, prepared.wanted.join(prepared.failed, on=MODEL_KEY, how="anti"))

    def prepare(self, collection: str, meter: StageMeter) -> _Prepared:
        """Computes into the staging folder what neither it nor the table has.

        Raises:
            InferenceError: The model fails for any text, or for all of the collection's.
        """
        chunks = self.store.read("chunks", collection, [*KEY, "text", "token_count"])
        wanted = chunks.select(*KEY, model=pl.lit(self.encoder.model), model_fingerprint=pl.lit(self._fingerprint))
        present = self.store.read(self.encoder.table, collection, MODEL_KEY, where=self._own)
        missing = wanted.join(present, on=MODEL_KEY, how="anti")
        staged = self.staging(collection).read({"content_sha256": pl.String()})
        texts = chunks.join(missing, on=KEY, how="semi").unique("content_sha256", maintain_order=True)
        for known in (present, staged):
            texts = texts.join(known, on="content_sha256", how="anti")
        errors = self._compute(collection, texts, meter) if texts.height else {}
        failed = missing.join(_messages(errors), on="content_sha256")
        prepared = _Prepared(
            wanted,
            missing.join(failed, on=MODEL_KEY, how="anti"),
            failed,
            is_new=not present.height,
            computed=texts.height - len(errors),
        )
        meter.count("reused", prepared.reused)
        self._report(collection, prepared, errors, meter)
        return prepared

    def rows(self, collection: str, keys: pl.DataFrame) -> pl.DataFrame:
        """Whole rows for keys that were prepared, with the values of their texts from the table and from staging.

        Raises:
            TableError: A value is not there any more.
        """
        if not keys.height:
            return pl.DataFrame(schema=SCHEMAS[self.encoder.table])
        columns: Schema = {"content_sha256": pl.String(), **self._value_schema}
        of_keys = pl.col("content_sha256").is_in(keys["content_sha256"].unique().implode())
        published = self.store.read(self.encoder.table, collection, list(columns), where=self._own & of_keys)
        staged = self.staging(collection).read(columns).filter(of_keys)
        values = pl.concat([published, staged]).unique("content_sha256", keep="first")
        rows = keys.join(values, on="content_sha256").with_columns(collection=pl.lit(collection))
        if rows.height != keys.height:
            raise TableError(
                f"staged rows of model '{self.encoder.model}' for collection '{collection}'",
                expected=f"a value for each of {keys.height} chunks",
                got=f"{rows.height}: files in {self.staging(collection).folder} have gone or are damaged",
                remedy="Nothing was published. Run again: what is missing is computed anew.",
            )
        return rows.select(list(SCHEMAS[self.encoder.table]))

    def staging(self, collection: str) -> Staging:
        """Where this model's computed rows wait."""
        return Staging(self.home, self.encoder.table, collection, self._fingerprint)

    @property
    def _fingerprint(self) -> str:
        return self.encoder.fingerprint

    @property
    def _own(self) -> pl.Expr:
        # By fingerprint alone: a model under a new name has the values already.
        return pl.col("model_fingerprint") == self._fingerprint

    def _compute(self, collection: str, texts: pl.DataFrame, meter: StageMeter) -> dict[str, InferenceError]:
        """Stages the values of distinct texts; returns the digests of those that failed, with the errors."""
        # The longest first: what remains at the end is short, so no core waits long for another.
        texts = texts.sort("token_count", descending=True)
        frames = list(texts.iter_slices(self._batch_size))
        requests = ([(text,) for text in frame["text"]] for frame in frames)
        errors: dict[str, InferenceError] = {}
        done, uncommitted = 0, []
        answers = self._triton.infer_many(self.encoder.model, requests, observer=meter)
        for frame, answer in zip(frames, answers, strict=True):
            uncommitted.append(self._values(frame, answer))
            errors.update({frame["content_sha256"][each.position]: each.error for each in answer.failures})
            meter.count("computed", answer.rows)
            done += frame.height
            meter.progress(collection, done, texts.height)
            if len(uncommitted) == REQUESTS_A_COMMIT or done == texts.height:
                self.staging(collection).append(pl.concat(uncommitted))
                uncommitted = []
        return errors

    def _values(self, frame: pl.DataFrame, answer: Answer) -> pl.DataFrame:
        values = self.encoder.values(answer.outputs)
        return values.with_columns(frame["content_sha256"].gather(answer.answered))

    def _report(
        self, collection: str, prepared: _Prepared, errors: dict[str, InferenceError], meter: StageMeter
    ) -> None:
        """Names the chunks that failed; where none is left, it is not the texts."""
        for kind in sorted({error.kind for error in errors.values()}):
            of_kind = [digest for digest, error in errors.items() if error.kind == kind]
            chunks = prepared.failed.filter(pl.col("content_sha256").is_in(of_kind))["chunk_id"].sort()
            meter.items_failed(self.encoder.model, chunks.to_list(), kind)
        if errors and prepared.failed.height == prepared.wanted.height:
            raise InferenceError(
                f"model '{self.encoder.model}' on collection '{collection}'",
                expected="an answer for one of its chunks at least",
                got=f"a failure for each of {prepared.wanted.height}, for example: {next(iter(errors.values())).got}",
                remedy="The table is as it was. `embedder models verify` tells whether the model is whole.",
            )


def embed_together(stages: Sequence[EmbeddingStage], collection: str, meter: StageMeter) -> list[EmbedOutcome]:
    """Makes the rows of some models the only ones that their table has of a collection.

    First all that is missing is computed, and staged; then one commit adds the new rows and removes the stale ones:
    those of chunks, texts, fingerprints and models that are gone, and lexical ones, for which a model's are there now.
    A crash before the commit leaves the table as it was and the staged rows for the next run. What a model failed on is
    listed before the commit.

    Args:
        stages: One a model, all of one table.
        collection: The collection.
        meter: Takes the batches, the items, and the smallest coverage of the models.

    Returns:
        An outcome a stage, in their order.
    """
    store, table = stages[0].store, stages[0].encoder.table
    prepared = [stage.prepare(collection, meter) for stage in stages]
    stale = store.read(table, collection, MODEL_KEY).join(
        pl.concat([each.wanted for each in prepared]), on=MODEL_KEY, how="anti"
    )
    added = [stage.rows(collection, each.missing) for stage, each in zip(stages, prepared, strict=True)]
    replaced = stale.filter(pl.col("model") != LEXICAL)
    if not set(replaced["model_fingerprint"]) <= {stage.encoder.fingerprint for stage in stages}:
        for stage, each, rows in zip(stages, prepared, added, strict=True):
            if stage.admit is not None and each.is_new and rows.height:
                stage.admit(collection, rows)
    failed = pl.concat([each.failed for each in prepared])
    list_failures(store, collection, table.removesuffix("_embeddings"), failed)
    store.exchange(table, collection, pl.concat(added), stale)
    for stage in stages:
        stage.staging(collection).clear()
    forget_unused(stages[0].home)
    return _outcomes(stages, prepared, stale, collection, meter)


def _outcomes(
    stages: Sequence[EmbeddingStage],
    prepared: Sequence[_Prepared],
    stale: pl.DataFrame,
    collection: str,
    meter: StageMeter,
) -> list[EmbedOutcome]:
    present = stages[0].store.read(stages[0].encoder.table, collection, MODEL_KEY)
    models = [stage.encoder.model for stage in stages]
    owners = pl.when(pl.col("model").is_in(models)).then("model").otherwise(pl.lit(models[0]))
    deleted = stale.select(owners)["model"].to_list()
    outcomes = []
    for model, each in zip(models, prepared, strict=True):
        rows, wanted = present.filter(pl.col("model") == model), each.wanted
        covered = wanted.join(rows, on=MODEL_KEY, how="semi").height
        outcomes.append(
            EmbedOutcome(
                rows=rows.height,
                computed=each.computed,
                reused=each.reused,
                deleted=deleted.count(model),
                coverage=covered / wanted.height if wanted.height else 1.0,
                failed=each.failed.height,
            )
        )
    meter.coverage[collection] = min(outcome.coverage for outcome in outcomes)
    return outcomes


def _messages(errors: dict[str, InferenceError]) -> pl.DataFrame:
    """What the server said of each text that failed."""
    columns = {"content_sha256": list(errors), "message": [error.got for error in errors.values()]}
    return pl.DataFrame(columns, schema={"content_sha256": pl.String, "message": pl.String})
