"""Retrieval quality from the tables and the collection's judgements, by the measures of trec_eval.

A judgement is of a document, and a ranking is of chunks: a document's rank is that of its best chunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import polars as pl

from embedder_assets.corpus.collections import find_collection
from embedder_assets.corpus.queries import load_qrels, qrels_files
from embedder_assets.errors import EmbedderError, TableError
from embedder_assets.evaluation.results import MEASURES, EvaluationResult, Models, latest_result, next_sequence
from embedder_assets.retrieval.cross_validation import out_of_fold_pairs, out_of_fold_reranked
from embedder_assets.retrieval.judgements import Qrels, digest_of_judgements, judgements, judgements_that_count
from embedder_assets.retrieval.ranking_weights import LEARNING_STAGES, read_weights
from embedder_assets.retrieval.rerank import candidate_vectors, out_of_fold_candidates
from embedder_assets.settings import Settings
from embedder_assets.tables.digest_ranges import input_digest
from embedder_assets.tables.store import TableStore

DEEPEST_RANK = 100  # no measure looks further
RESULT_SCHEMA = {"query_id": pl.String(), "ranking": pl.String(), "measure": pl.String(), "value": pl.Float64()}


def evaluate_rankings(rankings: Mapping[str, pl.DataFrame], qrels: Qrels) -> pl.DataFrame:
    """The measures of some rankings, for every judged query.

    A query is judged if a document of it has a grade above 0. One that a ranking holds nothing for scores 0. A document
    with the id of the query does not count.

    Args:
        rankings: Name to columns query_id, doc_id, rank (from 1, gaps allowed). A document may be there several times,
            once per chunk; its smallest rank counts.
        qrels: The judgements. nDCG takes the grade itself as the gain; for the others every grade above 0 is alike.

    Returns:
        Columns query_id, ranking, measure (``nDCG@10``, ``R@100``, ``RR@10``), value (0 to 1).
    """
    import ir_measures

    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    judged = judgements_that_count(qrels)
    rows = [
        (metric.query_id, name, str(metric.measure), metric.value)
        for name, ranking in rankings.items()
        for metric in ir_measures.iter_calc(measures, judged, _best_documents(ranking, list(judged)))
    ]
    return pl.DataFrame(rows, schema=RESULT_SCHEMA, orient="row").sort("query_id", maintain_order=True)


def candidate_rankings(fused: pl.DataFrame, reranked: pl.DataFrame | None, *, sparse: bool) -> dict[str, pl.DataFrame]:
    """The rankings that the candidate tables hold, each with the columns query_id, doc_id, rank.

    Args:
        fused: Rows of ``fused_candidates``.
        reranked: Rows of ``reranked_candidates``, or None when that stage is off. Behind them come the other fused
            candidates in their order, so that a deep measure compares whole rankings.
        sparse: Whether the sparse stage is on.
    """
    names = {"dense": "dense_rank", **({"sparse": "sparse_rank"} if sparse else {}), "fused": "rank"}
    rankings = {name: fused.drop_nulls(rank).select("query_id", "doc_id", rank=rank) for name, rank in names.items()}
    if reranked is not None:
        rest = fused.join(reranked, on=["query_id", "chunk_id"], how="anti")
        last = reranked["rank"].max() or 0
        columns = ["query_id", "doc_id", "rank"]
        rankings["reranked"] = pl.concat(
            [reranked.select(columns), rest.with_columns(pl.col("rank") + last).select(columns)]
        )
    return rankings


class EvaluateStage:
    """Evaluates the candidate tables of a collection, and keeps the history of it."""

    def __init__(self, store: TableStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def run(self, collection: str, models: Models, run_id: str) -> EvaluationResult | None:
        """Updates ``evaluation`` and ``evaluation_queries`` of a collection.

        Returns:
            The newest evaluation, or None where the collection has no judged query.
        """
        qrels = judgements(self._store, self._settings, collection)
        if not qrels:
            return None
        digest = self._input_digest(collection, qrels)
        newest = latest_result(self._store, "evaluation", collection)
        known = newest is not None and newest.input_digest == digest
        if known and digest in self._store.read("evaluation_queries", collection, ["input_digest"])["input_digest"]:
            return newest
        by_query = evaluate_rankings(self._rankings(collection, qrels), qrels).with_columns(
            collection=pl.lit(collection), input_digest=pl.lit(digest)
        )
        self._keep_queries(collection, by_query)
        if not known:
            means = by_query.group_by("collection", "ranking", "measure", "input_digest", maintain_order=True)
            self._store.append(
                "evaluation",
                means.agg(pl.col("value").mean(), queries=pl.len()).with_columns(
                    sequence=pl.lit(next_sequence(self._store, "evaluation", collection)),
                    evaluated_at=pl.lit(datetime.now(UTC)),
                    run_id=pl.lit(run_id),
                    models=pl.lit(json.dumps(models, sort_keys=True)),
                    qrels_digest=pl.lit(digest_of_judgements(qrels)),
                ),
            )
        return latest_result(self._store, "evaluation", collection)

    def current(self, collection: str) -> EvaluationResult | None:
        """The evaluation of the candidate tables as they are, or None where the collection has no judged query.

        Raises:
            TableError: There are judged queries, and the newest evaluation is not of these tables.
        """
        qrels = judgements(self._store, self._settings, collection)
        if not qrels:
            return None
        newest = latest_result(self._store, "evaluation", collection)
        if newest is None or newest.input_digest != self._input_digest(collection, qrels):
            raise TableError(
                f"table 'evaluation', collection '{collection}'",
                expected="an evaluation of the candidate tables and judgements as they are now, with these settings",
                got="none" if newest is None else f"one of {newest.at:%Y-%m-%d %H:%M} UTC, of other ones",
                remedy="Run `embedder run`, or materialize the asset `evaluation`.",
            )
        return newest

    def all_current(self, collections: Iterable[str]) -> Iterator[EvaluationResult]:
        """``current`` of those collections that have one, for a display that must not fail."""
        for name in collections:
            with suppress(EmbedderError):
                if figures := self.current(name):
                    yield figures

    def unmatched_judgements(self, collection: str) -> list[str]:
        """A sentence for each file of judgements, and each kind of judgement, that does not count."""
        found = find_collection(self._settings.corpus_dir, collection)
        used, unused = qrels_files(found)
        qrels = load_qrels(found)
        known = set(self._store.read("documents", collection, ["doc_id"])["doc_id"])
        query_ids = set(self._store.read("queries", collection, ["query_id"])["query_id"])
        queries = sorted(qrels.keys() - query_ids)
        documents = sorted({document for grades in qrels.values() for document in grades} - known)
        own = sorted(query for query, grades in qrels.items() if query in grades)
        return [
            *(f"{name} does not count{f' next to {used}' if used else ''}" for name in unused),
            *(
                f"{len(names)} {what}, for example {names[0]}"
                for names, what in (
                    (queries, f"queries of {used} are not in queries.jsonl, and do not count"),
                    (documents, f"documents of {used} are not in the collection, and cannot be found"),
                    (own, f"documents of {used} have the id of their query, and do not count"),
                )
                if names
            ),
        ]

    def _rankings(self, collection: str, qrels: Qrels) -> dict[str, pl.DataFrame]:
        """The rankings of the judged queries, each by weights that were learned without it."""
        fused = out_of_fold_candidates(self._store, self._settings, collection, qrels)
        reranked = None
        if self._settings.enable_rerank:
            is_judged_query = pl.col("query_id").is_in(list(qrels))
            rows = self._store.read("reranked_candidates", collection, where=is_judged_query)
            # The fused order as a fallback says nothing about the reranker.
            reranked = None if rows["fallback_used"].any() else self._out_of_fold_reranked(collection, rows, fused)
        return candidate_rankings(fused, reranked, sparse=self._settings.enable_sparse)

    def _out_of_fold_reranked(self, collection: str, rows: pl.DataFrame, fused: pl.DataFrame) -> pl.DataFrame:
        learned = [read_weights(self._store, collection, stage) for stage in LEARNING_STAGES]
        if learned[1] is None or not any(each.gain for each in learned if each):
            return rows
        pairs = out_of_fold_pairs(fused, rows, self._settings.rerank_depth)
        vectors_of = partial(candidate_vectors, self._store, self._settings, collection)
        return out_of_fold_reranked(pairs, vectors_of, learned[1])

    def _keep_queries(self, collection: str, by_query: pl.DataFrame) -> None:
        """Replaces the results by query with the new ones; those of the accepted baseline stay."""
        baseline = latest_result(self._store, "quality_baselines", collection)
        earlier = self._store.read("evaluation_queries", collection)
        kept = earlier.filter(
            pl.col("input_digest").eq(baseline.input_digest if baseline else "")
            & ~pl.col("input_digest").is_in(by_query["input_digest"].unique().to_list())
        )
        self._store.replace("evaluation_queries", collection, pl.concat([kept, by_query.select(kept.columns)]))

    def _input_digest(self, collection: str, qrels: Qrels) -> str:
        tables = ["fused_candidates", *(["reranked_candidates"] if self._settings.enable_rerank else [])]
        parts = [
            *MEASURES,
            "identical ids left out",
            f"sparse {self._settings.enable_sparse}",
            *tables,
            digest_of_judgements(qrels),
        ]
        for table in tables:
            parts += sorted(self._store.read(table, collection, ["input_digest"])["input_digest"].unique())
        return input_digest(parts)


def _best_documents(ranking: pl.DataFrame, queries: list[str]) -> dict[str, dict[str, float]]:
    """Query to document to 1 / rank, where documents are ranked by their best chunk without a gap or a tie."""
    found = ranking.filter(pl.col("query_id").is_in(queries), pl.col("query_id") != pl.col("doc_id"))
    best = found.group_by("query_id", "doc_id").agg(pl.col("rank").min()).sort("query_id", "rank", "doc_id")
    best = best.with_columns(rank=pl.int_range(1, pl.len() + 1).over("query_id"))
    documents: dict[str, dict[str, float]] = {}
    for query, document, rank in best.filter(pl.col("rank") <= DEEPEST_RANK).iter_rows():
        documents.setdefault(query, {})[document] = 1 / rank
    return documents
