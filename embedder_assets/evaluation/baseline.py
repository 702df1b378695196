"""Accepting what a collection reaches as the baseline that later runs are compared with."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from embedder_assets.errors import TableError, unknown_collection
from embedder_assets.evaluation.evaluate import EvaluateStage
from embedder_assets.evaluation.results import EvaluationResult, latest_result, latest_rows, next_sequence
from embedder_assets.retrieval.judgements import judgements
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore
from embedder_assets.tables.transaction import run_exclusively


@dataclass(frozen=True)
class Baseline:
    """An accepted evaluation.

    Attributes:
        note: Why it was accepted, in the person's words; may be empty.
        previous: What counted before it, or None for the first one of a collection.
    """

    result: EvaluationResult
    accepted_by: str
    note: str
    previous: EvaluationResult | None = None


def accept(
    store: TableStore, settings: Settings, names: Sequence[str], *, accepted_by: str, note: str
) -> list[Baseline]:
    """Makes the newest evaluation of some collections, or of all that have one, their baseline.

    It waits while a run works on one of them.

    Raises:
        TableError: A collection is unknown, has no judged query, or has not been evaluated as it is now. Then none is
            accepted.
    """
    evaluated = store.collections("evaluation")
    for name in names:
        if name not in evaluated:
            raise _not_evaluated(store, settings, name)
    if not evaluated:
        raise _nothing_evaluated()
    chosen = list(dict.fromkeys(names or evaluated))
    stage = EvaluateStage(store, settings)
    for name in chosen:
        # What was evaluated some time ago is not what the tables hold, and would be a baseline of nothing.
        if stage.current(name) is None:
            raise _not_evaluated(store, settings, name)
    # The next sequence is read and then written: two operators who accept at the same time must not take the same one.
    return [
        run_exclusively(store, [name], functools.partial(_accept, collection=name, accepted_by=accepted_by, note=note))
        for name in chosen
    ]


def accepted_baselines(store: TableStore) -> Iterator[Baseline]:
    """The baseline that counts, of each collection that has one."""
    for name in store.collections("quality_baselines"):
        yield _newest_baseline(store, name)


def drop(store: TableStore, names: Sequence[str]) -> list[Baseline]:
    """Gives up the baselines of some collections: they are exported again without a comparison.

    Returns:
        What counted until now.

    Raises:
        TableError: A collection has no baseline. Then none is given up.
    """
    known = store.collections("quality_baselines")
    for name in names:
        if name not in known:
            raise TableError(
                f"the baseline of collection '{name}'",
                expected=f"a collection with a baseline: {', '.join(known) or 'none is accepted'}",
                got="none",
                remedy="`embedder baseline show` shows all that count.",
            )
    dropped = [_newest_baseline(store, name) for name in dict.fromkeys(names)]
    for baseline in dropped:
        store.remove("quality_baselines", baseline.result.collection)
    return dropped


def _accept(store: TableStore, collection: str, accepted_by: str, note: str) -> Baseline:
    previous = latest_result(store, "quality_baselines", collection)
    rows = latest_rows(store, "evaluation", collection)
    store.append(
        "quality_baselines",
        rows.with_columns(
            sequence=pl.lit(next_sequence(store, "quality_baselines", collection)),
            accepted_at=pl.lit(datetime.now(UTC)),
            accepted_by=pl.lit(accepted_by),
            note=pl.lit(note),
        ),
    )
    return _newest_baseline(store, collection, previous)


def _newest_baseline(store: TableStore, collection: str, previous: EvaluationResult | None = None) -> Baseline:
    result = latest_result(store, "quality_baselines", collection)
    assert result is not None, "the caller has found rows of it"
    first = latest_rows(store, "quality_baselines", collection).row(0, named=True)
    return Baseline(result, first["accepted_by"], first["note"], previous)


def _not_evaluated(store: TableStore, settings: Settings, name: str) -> TableError:
    known = store.collections("documents")
    if name not in known:
        return unknown_collection(name, known)
    if not judgements(store, settings, name):
        return TableError(
            f"collection '{name}'",
            expected="judged queries: queries.jsonl, and qrels.tsv with a score above 0",
            got="none",
            remedy="Without judgements there is nothing to accept. docs/evaluation.md says how to write them. "
            f"`--collection` accepts other collections alone{_or_drop(store, name)}.",
        )
    return TableError(
        f"collection '{name}'",
        expected="an evaluation to accept",
        got="no rows in the table 'evaluation'",
        remedy=f"Run `embedder run --collection {shlex.quote(name)}` first.",
    )


def _or_drop(store: TableStore, name: str) -> str:
    if name not in store.collections("quality_baselines"):
        return ""
    return f", and `embedder baseline drop --collection {shlex.quote(name)}` gives up the baseline that counts"


def _nothing_evaluated() -> TableError:
    return TableError(
        "the table 'evaluation'",
        expected="an evaluation to accept",
        got="no rows",
        remedy="Run `embedder run` first, with a collection that has judged queries (docs/evaluation.md).",
    )
