"""What search has in common with the candidate tables: the order, and the weights that a collection has learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.errors import TritonUnavailableError
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.ranking_weights import read_weights
from embedder_assets.retrieval.rerank import RerankStage
from embedder_assets.retrieval.search import Search
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.tables.store import TableStore
from tests.support.factories import (
    DENSE,
    RERANK,
    SPARSE,
    FakeTriton,
    make_chunks,
    make_error,
    make_meter,
    make_queries,
    make_settings,
)

COUNT = 24
QUERIES = [f"word{number} asks" for number in range(COUNT)]
# The sparse model finds the answer by its word, the dense one of the tests knows nothing.
PASSAGES = [f"word{number} answers this of all" for number in range(COUNT)]


class World:
    """A collection with judged queries whose stages run as those of a run do."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.corpus = home / "corpus"
        self.settings = make_settings(home, corpus_dir=self.corpus, rerank_depth=10, **settings)
        self.triton = FakeTriton(ScoreFormula(cross_encoder=0.5, agreement=0.1, standardize=False))
        self.store = TableStore(home)

    def add(self, name: str, judged: int) -> None:
        """A collection with a document a passage, and judgements of so many queries."""
        documents = [make_chunks(text, doc_id=f"d{at}.md", collection=name) for at, text in enumerate(PASSAGES)]
        self.store.replace("chunks", name, pl.concat(documents))
        self.store.replace("queries", name, make_queries(*QUERIES, collection=name))
        folder = self.corpus / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"_id": f"q{number}", "text": query}) for number, query in enumerate(QUERIES)]
        (folder / "queries.jsonl").write_text("\n".join(lines), "utf-8")
        self.judge(name, judged)
        for encoder in (DenseEncoder(DENSE, "dense-1"), SparseEncoder(SPARSE, "sparse-1")):
            EmbeddingStage(self.store, self.triton, self.settings, [encoder]).run(name, make_meter("dense"))

    def judge(self, name: str, count: int) -> None:
        lines = [f"q{number}\td{number}.md\t1" for number in range(count)]
        content = "\n".join(["query-id\tcorpus-id\tscore", *lines]) if count else ""
        (self.corpus / name / "qrels.tsv").write_text(content, "utf-8")

    def rank(self, name: str) -> pl.DataFrame:
        models = RetrievalModels.of(self.settings, self.triton)
        FuseStage(self.store, self.triton, self.settings, models).run(name, make_meter("fuse"))
        stage = RerankStage(self.store, self.triton, self.settings, ModelVersion(RERANK, "rerank-1"))
        return stage.run(name, make_meter("rerank")).sort("query_id", "rank")

    def dense_weight(self, name: str) -> float:
        learned = read_weights(self.store, name, "fuse")
        return learned.weights["dense"] if learned else DENSE_WEIGHT

    def order(self, query: str, *names: str, top: int = 10) -> list[str]:
        return [hit.chunk_id for hit in Search(self.store, self.triton, self.settings, names).search(query, top)]


@pytest.fixture
def world(tmp_path) -> World:
    world = World(tmp_path)
    world.add("kb", COUNT)
    return world


def test_search_has_the_order_of_the_tables(world):
    rows = world.rank("kb")
    assert world.dense_weight("kb") < DENSE_WEIGHT / 2
    for number, query in enumerate(QUERIES[:6]):
        expected = rows.filter(query_id=f"q{number}")["chunk_id"].to_list()
        assert world.order(query, "kb") == expected
        # More than are reranked come behind them, in the fused order.
        fused = world.store.read("fused_candidates", "kb").filter(query_id=f"q{number}").sort("rank")["chunk_id"]
        rest = [chunk for chunk in fused if chunk not in expected]
        assert world.order(query, "kb", top=20) == [*expected, *rest][:20]


def test_search_over_collections_takes_the_mean_weight(world):
    world.add("plain", 0)
    world.rank("kb")
    world.rank("plain")
    search = Search(world.store, world.triton, world.settings, ["kb", "plain"])
    assert search._dense_weight == pytest.approx((world.dense_weight("kb") + DENSE_WEIGHT) / 2)


def test_other_judgements_teach_other_weights(world):
    world.rank("kb")
    asked = len(world.triton.requests)
    world.judge("kb", 5)
    world.rank("kb")
    assert read_weights(world.store, "kb", "fuse") is None
    assert read_weights(world.store, "kb", "rerank") is None
    assert world.dense_weight("kb") == DENSE_WEIGHT
    # Queries and chunks are known; the model is asked about pairs that are new among the best.
    assert all(len(row) == 2 for rows in world.triton.requests[asked:] for row in rows)
    world.judge("kb", COUNT)
    world.rank("kb")
    assert world.dense_weight("kb") < DENSE_WEIGHT / 2


def test_unreadable_judgements_leave_the_default(world):
    (world.corpus / "kb" / "qrels.tsv").write_text("what is this", "utf-8")
    assert world.rank("kb").height
    assert world.dense_weight("kb") == DENSE_WEIGHT


def test_unchanged_input_learns_nothing_anew(world):
    world.rank("kb")
    version, asked = world.store.version("ranking_weights"), len(world.triton.requests)
    world.rank("kb")
    assert (world.store.version("ranking_weights"), len(world.triton.requests)) == (version, asked)


@pytest.mark.parametrize("setting", [{"fusion": "rrf"}, {"enable_sparse": False}])
def test_without_scores_to_weigh_only_reranking_learns(tmp_path, setting):
    world = World(tmp_path, **setting)
    world.add("kb", COUNT)
    rows = world.rank("kb")
    assert read_weights(world.store, "kb", "fuse") is None
    assert read_weights(world.store, "kb", "rerank").queries == COUNT
    assert world.order(QUERIES[0], "kb") == rows.filter(query_id="q0")["chunk_id"].to_list()


def test_fallback_of_the_reranker_learns_nothing(world):
    world.triton.broken = {RERANK: make_error(TritonUnavailableError)}
    assert world.rank("kb")["fallback_used"].all()
    assert read_weights(world.store, "kb", "rerank") is None
    world.triton.broken = {}
    world.rank("kb")
    assert read_weights(world.store, "kb", "rerank").queries == COUNT


def test_a_row_is_found_by_its_column_and_shown_as_it_is(tmp_path):
    world = World(tmp_path)
    world.add("kb", 0)
    chunks = [make_chunks(f"row{at} | {at}", doc_id=f"d{at}.md") for at in range(9)]
    header = pl.when(pl.col("text").str.starts_with("row7")).then(pl.lit("article torque"))
    world.store.replace("chunks", "kb", pl.concat(chunks).with_columns(table_header=header))
    for encoder in (DenseEncoder(DENSE, "dense-1"), SparseEncoder(SPARSE, "sparse-1")):
        EmbeddingStage(world.store, world.triton, world.settings, [encoder]).run("kb", make_meter("dense"))
    hits = Search(world.store, world.triton, world.settings, ["kb"]).search("torque", 9)
    (found,) = [hit for hit in hits if hit.sparse_rank]
    assert (found.doc_id, found.text, found.snippet) == ("d7.md", "row7 | 7", "row7 | 7")
    assert found.cross_encoder_score == 1.0
