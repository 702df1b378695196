"""Publishes what some models computed: new rows come and stale rows go in one commit, for all models of a table.

So a reader sees the old set or the new one, never a mixture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import polars as pl

from embedder_assets.embedding.failures import list_failures
from embedder_assets.embedding.keys import MODEL_KEY
from embedder_assets.embedding.lexical import LEXICAL
from embedder_assets.embedding.stage import EmbeddingStage, Prepared
from embedder_assets.telemetry.stage_record import StageMeter


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
    census = _Census.of(stages, collection)
    replaced = census.stale.filter(pl.col("model") != LEXICAL)
    if not set(replaced["model_fingerprint"]) <= {stage.encoder.fingerprint for stage in stages}:
        for stage, each in zip(stages, prepared, strict=True):
            if stage.allow_swap is not None and each.is_new and each.missing:
                stage.allow_swap(collection, stage.missing_rows(collection, each))
    failed = pl.concat([each.failed for each in prepared])
    list_failures(store, collection, table.removesuffix("_embeddings"), failed)
    added = (stage.missing_rows(collection, each) for stage, each in zip(stages, prepared, strict=True))
    store.exchange(table, collection, chain.from_iterable(added), census.stale)
    for stage in stages:
        stage.staging(collection).clear()
    store.delete_staged()
    deleted = _deleted(stages, census.stale)
    if census.stale.height or any(each.missing for each in prepared):
        census = _Census.of(stages, collection)
    outcomes = [census.outcome(*each) for each in zip(stages, prepared, deleted, strict=True)]
    meter.coverage[collection] = min(outcome.coverage for outcome in outcomes)
    return outcomes


def _deleted(stages: Sequence[EmbeddingStage], stale: pl.DataFrame) -> list[int]:
    """Stale rows of each stage's model; those of models that are no longer configured count with the first one's."""
    counts = Counter(stale["model"])
    own = [counts.pop(stage.encoder.model, 0) for stage in stages]
    return [own[0] + counts.total(), *own[1:]]


@dataclass
class _Census:
    """What the table holds of a collection, counted and not assumed.

    Attributes:
        stale: Keys of rows that no stage wants, the columns of ``MODEL_KEY``.
        rows: Model name to rows.
        covered: Model name to keys that it should have a row of, and has.
    """

    stale: pl.DataFrame
    rows: Counter[str]
    covered: Counter[str]

    @classmethod
    def of(cls, stages: Sequence[EmbeddingStage], collection: str) -> _Census:
        store, table = stages[0].store, stages[0].encoder.table
        stale, rows, covered = [], Counter[str](), Counter[str]()
        for part in stages[0].parts(collection):
            present = store.read(table, collection, MODEL_KEY, where=part.rows)
            wanted = pl.concat([stage.keys(collection, part) for stage in stages])
            stale.append(present.join(wanted, on=MODEL_KEY, how="anti"))
            rows.update(dict(present["model"].value_counts().iter_rows()))
            covered.update(dict(wanted.join(present, on=MODEL_KEY, how="semi")["model"].value_counts().iter_rows()))
        return cls(pl.concat(stale), rows, covered)

    def outcome(self, stage: EmbeddingStage, prepared: Prepared, deleted: int) -> EmbedOutcome:
        """Of one stage."""
        model = stage.encoder.model
        return EmbedOutcome(
            rows=self.rows[model],
            computed=prepared.computed,
            reused=prepared.reused,
            deleted=deleted,
            coverage=self.covered[model] / prepared.wanted if prepared.wanted else 1.0,
            failed=prepared.failed.height,
        )
