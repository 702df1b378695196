"""The weights of the ranking that were learned from a collection's judged queries, in the table ``ranking_weights``.

The stage ``fuse`` learns the weight of the dense part, the stage ``rerank`` those of the cross-encoder and of the
agreement. Without rows the defaults hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

TABLE = "ranking_weights"
FOLDS = 5

LearningStage = Literal["fuse", "rerank"]
LEARNING_STAGES: tuple[LearningStage, ...] = ("fuse", "rerank")
Weights = Mapping[str, float]


@dataclass(frozen=True)
class LearnedWeights:
    """What one stage learned from the judged queries of a collection.

    Attributes:
        weights: By name, fitted on all judged queries: what search and the candidate tables use.
        folds: The same for each fold, fitted on the queries of the other folds: what evaluation uses.
        queries: Judged queries that they were fitted on.
        default_ndcg: nDCG@10 of the stage's ranking by the default weights.
        ndcg: The same by the learned weights, each query by those of its fold.
    """

    weights: Weights
    folds: Sequence[Weights]
    queries: int
    default_ndcg: float
    ndcg: float

    @property
    def gain(self) -> float:
        """What learning gains in nDCG@10, out of fold; 0 where the default holds."""
        return self.ndcg - self.default_ndcg

    def described(self) -> str:
        """A phrase that says where the weights are from."""
        if not self.gain:
            return f"default: {self.queries} judged queries gave no evidence for others"
        return f"learned from {self.queries} judged queries, nDCG@10 {self.gain:+.4f} out of fold"


def fold_of(query_id: str) -> int:
    """The fold of a query, 0 to ``FOLDS`` - 1; it depends on its id only."""
    return int.from_bytes(hashlib.sha256(query_id.encode()).digest()[:4]) % FOLDS


def read_weights(store: TableStore, collection: str, stage: LearningStage) -> LearnedWeights | None:
    """What a stage learned last in a collection; None where nothing was to be learned from."""
    rows = store.read(TABLE, collection, where=pl.col("stage") == stage)
    if not rows.height:
        return None
    first = rows.row(0, named=True)
    by_fold: dict[int | None, dict[str, float]] = {}
    for fold, name, value in rows.select("fold", "weight", "value").iter_rows():
        by_fold.setdefault(fold, {})[name] = value
    return LearnedWeights(
        weights=by_fold[None],
        folds=[by_fold[fold] for fold in range(FOLDS)],
        queries=first["queries"],
        default_ndcg=first["default_ndcg"],
        ndcg=first["ndcg"],
    )


def write_weights(store: TableStore, collection: str, stage: LearningStage, learned: LearnedWeights | None) -> None:
    """Makes these the only weights of a stage and a collection; None removes them."""
    rows = (
        [
            (collection, stage, fold, name, value)
            for fold, weights in [(None, learned.weights), *enumerate(learned.folds)]
            for name, value in weights.items()
        ]
        if learned
        else []
    )
    names = ["collection", "stage", "fold", "weight", "value"]
    frame = pl.DataFrame(rows, schema={name: SCHEMAS[TABLE][name] for name in names}, orient="row")
    frame = frame.with_columns(
        queries=pl.lit(learned.queries if learned else None, pl.Int64),
        default_ndcg=pl.lit(learned.default_ndcg if learned else None, pl.Float64),
        ndcg=pl.lit(learned.ndcg if learned else None, pl.Float64),
    )
    current = store.read(TABLE, collection)
    new = pl.concat([current.filter(pl.col("stage") != stage), frame.select(current.columns)])
    if not new.equals(current):
        store.replace(TABLE, collection, new)


def mean_weights(
    store: TableStore, collections: Sequence[str], stage: LearningStage, default: Weights
) -> dict[str, float]:
    """The weights for a search over some collections: the mean of theirs, with the default where nothing is learned."""
    learned = [read_weights(store, name, stage) for name in collections]
    each = [found.weights if found else default for found in learned]
    return {name: sum(weights[name] for weights in each) / len(each) for name in default}
