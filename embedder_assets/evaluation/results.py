"""The result of an evaluation, and of an accepted baseline, as the tables hold them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from embedder_assets.tables.store import TableStore

# In the order of the pipeline: the last one that an evaluation has is what search and exports end with.
RANKINGS = ("dense", "sparse", "fused", "reranked")
NDCG = "nDCG@10"
MEASURES = (NDCG, "R@100", "RR@10")
_INSTANTS = {"evaluation": "evaluated_at", "quality_baselines": "accepted_at"}

Models = dict[str, dict[str, str]]


@dataclass(frozen=True)
class EvaluationResult:
    """What one collection reached.

    Attributes:
        values: (ranking, measure) to its mean over the judged queries, 0 to 1.
        queries: Judged queries.
        models: Stage to model name to fingerprint; a stage that was off is absent.
        qrels_digest: Of the judgements.
        input_digest: Of everything that was evaluated.
        at: When it was evaluated or accepted, UTC.
    """

    collection: str
    values: dict[tuple[str, str], float]
    queries: int
    models: Models
    qrels_digest: str
    input_digest: str
    at: datetime

    @property
    def rankings(self) -> list[str]:
        """The rankings that were evaluated, in the order of the pipeline."""
        return [name for name in RANKINGS if (name, NDCG) in self.values]

    @property
    def final(self) -> str:
        """The ranking that search and exports end with."""
        return self.rankings[-1]

    def ndcg(self, ranking: str) -> float:
        """Mean nDCG@10 of a ranking."""
        return self.values[ranking, NDCG]

    def by_ranking(self) -> dict[str, dict[str, float]]:
        """Ranking to measure to value, in the order of the pipeline."""
        return {name: {measure: self.values[name, measure] for measure in MEASURES} for name in self.rankings}

    @property
    def model_list(self) -> str:
        """Every model with its fingerprint, for a message."""
        return ", ".join(f"{name} {mark}" for stage in self.models.values() for name, mark in stage.items())

    def matching_ranking(self, ranking: str) -> str:
        """The ranking of this result to compare another evaluation's ``ranking`` with: the same, or the final one."""
        return ranking if ranking in self.rankings else self.final


def latest_result(
    store: TableStore, table: Literal["evaluation", "quality_baselines"], collection: str
) -> EvaluationResult | None:
    """The newest evaluation or the newest accepted baseline of a collection, or None without one."""
    rows = latest_rows(store, table, collection)
    if not rows.height:
        return None
    first = rows.row(0, named=True)
    return EvaluationResult(
        collection=collection,
        values={(ranking, measure): value for ranking, measure, value in rows.select(_NAMED).iter_rows()},
        queries=first["queries"],
        models=json.loads(first["models"]),
        qrels_digest=first["qrels_digest"],
        input_digest=first["input_digest"],
        at=first[_INSTANTS[table]],
    )


def latest_rows(store: TableStore, table: Literal["evaluation", "quality_baselines"], collection: str) -> pl.DataFrame:
    """The rows of the newest evaluation or of the newest accepted baseline; empty without one.

    The newest is the last one that was written. Its time says nothing of that: a clock may have been wrong.
    """
    rows = store.read(table, collection).with_columns(pl.col("sequence").fill_null(0))
    # Rows without a sequence number are older than those with one, and only their times tell them apart.
    for order in (pl.col("sequence"), pl.col(_INSTANTS[table])):
        rows = rows.filter(order == order.max())
    return rows


def next_sequence(store: TableStore, table: Literal["evaluation", "quality_baselines"], collection: str) -> int:
    """The sequence number of the evaluation, or the baseline, that is written next."""
    newest = store.read(table, collection, ["sequence"])["sequence"].max()
    return 1 + (newest if isinstance(newest, int) else 0)


def changes_by_query(store: TableStore, collection: str, now: tuple[str, str], before: tuple[str, str]) -> pl.DataFrame:
    """How nDCG@10 of each query differs between two rankings, those that lost most first.

    Args:
        store: The tables.
        collection: Name of the collection.
        now: (input digest of the evaluation, ranking).
        before: The same of what it is compared with.

    Returns:
        Columns query_id, before, now, change; empty where ``evaluation_queries`` does not hold one of them.
    """
    rows = store.read("evaluation_queries", collection).filter(pl.col("measure") == NDCG)

    def of(which: tuple[str, str], column: str) -> pl.DataFrame:
        chosen = rows.filter((pl.col("input_digest") == which[0]) & (pl.col("ranking") == which[1]))
        return chosen.select("query_id", pl.col("value").alias(column))

    both = of(before, "before").join(of(now, "now"), on="query_id")
    return both.with_columns(change=pl.col("now") - pl.col("before")).sort("change", "query_id")


_NAMED = ["ranking", "measure", "value"]
