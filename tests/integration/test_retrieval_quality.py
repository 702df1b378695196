"""Retrieval quality from the tables alone, held against what the models are known to reach."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from embedder_assets.stages.corpus import discover_collections
from embedder_assets.stages.queries import load_qrels
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.integration.conftest import Embedder

FLOORS = {"dense_rank": 0.77, "sparse_rank": 0.73, "rank": 0.80}


def mean_ndcg_at_10(candidates: pl.DataFrame, rank: str, qrels: dict[str, dict[str, int]]) -> float:
    """Mean nDCG@10 over the judged queries; a document's rank is that of its best chunk."""
    ranked = candidates.drop_nulls(rank).group_by("query_id", "doc_id").agg(pl.col(rank).min()).sort("query_id", rank)
    documents = {key[0]: rows["doc_id"].to_list() for key, rows in ranked.group_by("query_id", maintain_order=True)}
    judged = {query: grades for query, grades in qrels.items() if any(grades.values())}
    return sum(_ndcg(documents.get(query, []), grades) for query, grades in judged.items()) / len(judged)


def _ndcg(documents: list[str], grades: dict[str, int]) -> float:
    gains = [grades.get(document, 0) for document in documents[:10]]
    ideal = sorted(grades.values(), reverse=True)[:10]
    return _dcg(gains) / _dcg(ideal)


def _dcg(gains: list[int]) -> float:
    return sum(gain / math.log2(position + 2) for position, gain in enumerate(gains))


def test_medline_reaches_the_known_figures(embedder: Embedder, home: Path, shared_data: Path) -> None:
    folder = shared_data / "collections" / "medline"
    result = embedder("run", "--corpus", str(folder))
    assert result.returncode == 0, result.stdout
    qrels = load_qrels(discover_collections(folder)[0])
    store = TableStore(home)
    fused = store.read("fused_candidates", "medline")
    for rank, floor in FLOORS.items():
        assert mean_ndcg_at_10(fused, rank, qrels) >= floor, rank
    reranked = mean_ndcg_at_10(store.read("reranked_candidates", "medline"), "rank", qrels)
    assert reranked >= mean_ndcg_at_10(fused, "rank", qrels) - 0.02


def test_the_sample_corpus_answers_its_golden_queries(embedder: Embedder, home: Path) -> None:
    corpus = PROJECT / "examples" / "corpus"
    result = embedder("run", "--corpus", str(corpus))
    assert result.returncode == 0, result.stdout
    collections = discover_collections(corpus)
    assert len(collections) == 2
    for collection in collections:
        store, qrels = TableStore(home), load_qrels(collection)
        assert len(qrels) >= 20
        assert mean_ndcg_at_10(store.read("reranked_candidates", collection.name), "rank", qrels) >= 0.7
