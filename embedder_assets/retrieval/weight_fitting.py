"""Learning a collection's ranking weights from its judged queries, by cross-validation and with shrinkage.

There are some options. The one is chosen whose mean gain over the default is largest after a standard error of it is
taken off, so a gain that may be chance chooses nothing. With t the gain in standard errors, the weights move from the
default towards it by 1 - 1 / t², as in the positive-part estimator of James and Stein ("Estimation with Quadratic
Loss", Berkeley Symposium 1961), and all the way from t = 2 on: what is still half of a harmful weight may harm as much.
Weights that gain nothing on queries which they were not fitted on are not used at all. docs/adr/0032 has the figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.retrieval.ranking_weights import FOLDS, LearnedWeights, Weights, fold_of

FEWEST_QUERIES = 10
# More would take longer than they change.
MOST_QUERIES = 1000
ENOUGH_STANDARD_ERRORS = 2.0
_DEPTH = 10

Floats = NDArray[np.float64]
# nDCG@10 of one judged query, by its position, with some weights.
Scorer = Callable[[int, Weights], float]


@dataclass(frozen=True)
class Judged:
    """The candidates of one judged query.

    Attributes:
        query_id: Of the query.
        rows: Its candidates, in the order that equal scores keep.
        documents: A number for each candidate's document, -1 where that has the id of the query, [candidates].
        grades: The grade of each candidate's document, 0 where it has none, [candidates].
        ideal: DCG@10 of the best ranking that there could be.
    """

    query_id: str
    rows: pl.DataFrame
    documents: NDArray[np.int64]
    grades: Floats
    ideal: float

    def ndcg(self, scores: Floats) -> float:
        """nDCG@10 of the documents, each at the rank of its best chunk.

        The gain is the grade itself, as trec_eval has it (Järvelin and Kekäläinen, "Cumulated gain-based evaluation of
        IR techniques", TOIS 2002).
        """
        seen: dict[int, float] = {}
        for candidate in np.argsort(-scores, kind="stable"):
            if self.documents[candidate] < 0:
                continue
            seen.setdefault(int(self.documents[candidate]), self.grades[candidate])
            if len(seen) == _DEPTH:
                break
        return _dcg(np.fromiter(seen.values(), np.float64)) / self.ideal


def judged_queries(candidates: pl.DataFrame, qrels: Mapping[str, Mapping[str, int]]) -> list[Judged]:
    """The judged queries among candidates, by id; of more than ``MOST_QUERIES`` that many, chosen by digest of the id.

    Args:
        candidates: Columns query_id, doc_id, and any others, in the order that equal scores keep.
        qrels: Query to document to grade; each has a document of grade 1 or more.
    """
    chosen = sorted(qrels, key=lambda query: hashlib.sha256(query.encode()).digest())[:MOST_QUERIES]
    of_query = candidates.filter(pl.col("query_id").is_in(chosen)).partition_by("query_id", as_dict=True)
    found = []
    for (query,), rows in sorted(of_query.items()):
        grades = qrels[str(query)]
        ideal = _dcg(np.sort(np.array([grade for grade in grades.values() if grade > 0], np.float64))[::-1][:_DEPTH])
        documents = rows["doc_id"].rank("dense").to_numpy().astype(np.int64)
        documents[(rows["doc_id"] == query).to_numpy()] = -1
        own = np.array([max(grades.get(document, 0), 0) for document in rows["doc_id"]], np.float64)
        found.append(Judged(str(query), rows, documents, own, ideal))
    return found


def fit(queries: Sequence[str], options: Sequence[Weights], default: Weights, score: Scorer) -> LearnedWeights | None:
    """Learns weights; None where there are fewer than ``FEWEST_QUERIES`` queries.

    Args:
        queries: Ids of the judged queries.
        options: What each weight may be; the default is one of them.
        default: What holds without evidence.
        score: nDCG@10 of a query by weights. It is asked about options, and about points between them.
    """
    if len(queries) < FEWEST_QUERIES:
        return None
    rows = np.arange(len(queries))
    folds = np.array([fold_of(query) for query in queries])
    values = np.array([[score(row, weights) for weights in options] for row in rows])
    start = list(options).index(default)
    by_fold = [_shrunk(values[folds != fold], options, start) for fold in range(FOLDS)]
    out_of_fold = float(np.mean([score(row, by_fold[folds[row]]) for row in rows]))
    before = float(values[:, start].mean())
    if out_of_fold <= before or all(weights == default for weights in by_fold):
        return LearnedWeights(default, [default] * FOLDS, len(queries), before, before)
    return LearnedWeights(_shrunk(values, options, start), by_fold, len(queries), before, out_of_fold)


def _shrunk(values: Floats, options: Sequence[Weights], default: int) -> Weights:
    """The weights that values [queries, options] speak for, between the default and an option."""
    start = options[default]
    if len(values) < 2:
        return start
    gains = values - values[:, [default]]
    mean, error = gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(values))
    best = int((mean - error).argmax())
    if mean[best] <= error[best]:
        return start
    t = mean[best] / error[best] if error[best] else np.inf
    share = 1.0 if t >= ENOUGH_STANDARD_ERRORS else 1 - 1 / t**2
    return {name: value + share * (options[best][name] - value) for name, value in start.items()}


def _dcg(grades: Floats) -> float:
    return float((grades / np.log2(np.arange(2, len(grades) + 2))).sum())
