"""Retrieval quality as the asset ``evaluation`` reports it, compared with what the models are known to reach."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import polars as pl
import pytest

from embedder_assets.evaluation.evaluate import candidate_rankings, evaluate_rankings
from embedder_assets.evaluation.results import EvaluationResult, latest_result
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.command import Embedder
from tests.support.corpora.lexical_traps import write_lexical_traps
from tests.support.model_repositories import exact_variables

FLOORS = {"dense": 0.77, "sparse": 0.73, "fused": 0.80}


def evaluation(home: Path, collection: str) -> EvaluationResult:
    figures = latest_result(TableStore(home), "evaluation", collection)
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
    shown = json.loads(embedder("weights", "show", "--collection", "medline", "--json").stdout)
    in_manifest = json.loads((home / "runs" / "latest.json").read_text("utf-8"))["ranking_weights"]["medline"]
    assert [(each["stage"], each["judged_queries"]) for each in shown] == [("fuse", 30), ("rerank", 30)]
    for stage, ranking in zip(shown, ("fused", "reranked"), strict=True):
        # What learning expects of other queries is what the evaluation finds out of fold.
        assert stage["learned_ndcg"] == pytest.approx(figures.ndcg(ranking), abs=1e-6)
        assert {"collection": "medline", "stage": stage["stage"], **in_manifest[stage["stage"]]} == stage


def test_noise_of_the_sparse_model_is_noticed(embedder: Embedder, home: Path, tmp_path: Path) -> None:
    folder = write_lexical_traps(tmp_path)
    result = embedder("run", "--corpus", str(folder))
    assert result.returncode == 0, result.stdout
    figures = evaluation(home, "traps")
    assert figures.ndcg("dense") > figures.ndcg("sparse") + 0.1
    # What the weights give on queries that they were not fitted on is too little for a dozen queries, and is said.
    warning = next(line for line in result.stdout.splitlines() if "final_not_below_best_part" in line)
    assert figures.ndcg("reranked") < figures.ndcg("dense") - 0.02
    assert "the dense ranking alone has" in warning
    assert "EMBEDDER_ENABLE_SPARSE=false" in warning
    # The weights that search uses were fitted on all of them, and keep to the dense model.
    store = TableStore(home)
    ranked = candidate_rankings(
        store.read("fused_candidates", "traps"), store.read("reranked_candidates", "traps"), sparse=True
    )
    qrels = {f"q{number}": {f"answer-{number}": 1} for number in range(figures.queries)}
    found = evaluate_rankings(ranked, qrels).filter(measure="nDCG@10").group_by("ranking").agg(pl.col("value").mean())
    reached = dict(found.iter_rows())
    assert reached["reranked"] >= reached["dense"] - 0.02
    shown = embedder("weights", "show", "--json", EMBEDDER_CORPUS_DIR=str(tmp_path))
    assert json.loads(shown.stdout)[0]["weights"]["dense"] >= 0.9


def rows_of(text: str, collection: str) -> list[list[str]]:
    """The cells of the tables' rows about a collection."""
    lines = [line for line in text.splitlines() if line.startswith(f"│ {collection} ")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def without_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("│")]


def require_documented(printed: str, collection: str, documented: str) -> None:
    """The README shows the very figures that a run prints; another processor may round a few fused candidates away."""
    figures, counts = rows_of(documented, collection)[0], rows_of(printed, collection)[0]
    assert abs(int(figures[6]) - int(counts[6])) <= 0.02 * int(counts[6])
    assert figures[:6] + figures[7:] == counts[:6] + counts[7:]


def test_sample_corpus_gives_documented_figures_and_hits(embedder: Embedder, home: Path) -> None:
    block = runpy.run_path(str(PROJECT / "docs" / "build_first_run.py"))["BLOCK"]
    documented = block.search((PROJECT / "README.md").read_text("utf-8"))[0]
    # The documented figures are those of int8.
    models = exact_variables()
    result = embedder("run", "--corpus", str(PROJECT / "examples" / "corpus"), **models)
    assert result.returncode == 0, result.stdout
    assert without_rows(documented) == without_rows(result.stdout.replace(str(home), ".embedder"))
    for name in ("rag-operations-handbook", "triton-cookbook"):
        require_documented(result.stdout, name, documented)
        figures = evaluation(home, name)
        assert figures.queries == 32
        assert figures.ndcg("reranked") >= 0.7
        shown = next(
            line for line in result.stdout.splitlines() if name in line and f"{figures.ndcg('fused'):.4f}" in line
        )
        assert [f"{figures.ndcg(ranking):.4f}" in shown for ranking in figures.rankings] == [True] * 4
    quickstart = (PROJECT / "docs" / "quickstart.md").read_text("utf-8")
    search = re.search(r"^\$ embedder (search .+)\n((?:(?!```).*\n)+)", quickstart, re.MULTILINE)
    assert search is not None
    said = embedder(*shlex.split(search[1]), **models).stdout.splitlines()
    for line in search[2].strip().splitlines():
        if not line.startswith("   score"):
            assert any(each.startswith(line.removesuffix(" …")) for each in said), line
