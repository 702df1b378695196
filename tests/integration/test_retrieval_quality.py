"""Retrieval quality as the asset ``evaluation`` tells it, held against what the models are known to reach."""

from __future__ import annotations

from pathlib import Path

from embedder_assets.stages.quality import Figures, newest_figures
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.integration.conftest import Embedder

FLOORS = {"dense": 0.77, "sparse": 0.73, "fused": 0.80}


def evaluation(home: Path, collection: str) -> Figures:
    figures = newest_figures(TableStore(home), "evaluation", collection)
    assert figures is not None
    return figures


def test_medline_reaches_the_known_figures(embedder: Embedder, home: Path, shared_data: Path) -> None:
    result = embedder("run", "--corpus", str(shared_data / "collections" / "medline"))
    assert result.returncode == 0, result.stdout
    figures = evaluation(home, "medline")
    assert figures.queries == 30
    for ranking, floor in FLOORS.items():
        assert figures.ndcg(ranking) >= floor, ranking
    assert figures.ndcg("reranked") >= figures.ndcg("fused") - 0.02


def test_the_sample_corpus_answers_its_golden_queries(embedder: Embedder, home: Path) -> None:
    result = embedder("run", "--corpus", str(PROJECT / "examples" / "corpus"))
    assert result.returncode == 0, result.stdout
    for name in ("rag-operations-handbook", "triton-cookbook"):
        figures = evaluation(home, name)
        assert figures.queries == 32
        assert figures.ndcg("reranked") >= 0.7
        shown = next(
            line for line in result.stdout.splitlines() if name in line and f"{figures.ndcg('fused'):.4f}" in line
        )
        assert [f"{figures.ndcg(ranking):.4f}" in shown for ranking in figures.rankings] == [True] * 4
