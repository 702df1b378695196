import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.stages.rerank import RerankStage, combine
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.unit.factories import RERANK, FakeTriton, chunk_id, make_chunks, make_meter, make_queries, make_settings


def scored(ranks: list[int], logits: list[float | None], query: str = "q") -> pl.DataFrame:
    columns = {"query_id": [query] * len(ranks), "fused_rank": ranks, "cross_encoder_score": logits}
    return pl.DataFrame(
        columns, schema={"query_id": pl.String, "fused_rank": pl.Int64, "cross_encoder_score": pl.Float64}
    )


def order(rows: pl.DataFrame) -> list[int]:
    return rows["fused_rank"].to_list()


def test_the_score_adds_both_standardized_terms():
    # -log of 1, 2, 4 is 0, -l, -2l: standardized sqrt(3/2), 0, -sqrt(3/2). Logits 0, 0, 3: -1, -1, 2 over sqrt(2).
    fused, low, high = math.sqrt(1.5), -1 / math.sqrt(2), 2 / math.sqrt(2)
    rows = combine(scored([1, 2, 4], [0.0, 0.0, 3.0]), 0.9)
    assert (order(rows), rows["rank"].to_list()) == ([1, 4, 2], [1, 2, 3])
    assert rows["score"].to_list() == pytest.approx([fused + 0.9 * low, -fused + 0.9 * high, 0.9 * low])


def test_a_heavier_weight_lets_the_cross_encoder_decide():
    assert order(combine(scored([1, 2, 3], [-5.0, 1.0, 4.0]), 100)) == [3, 2, 1]


@pytest.mark.parametrize("logit", [0.0, 0.1, -7.3])
def test_equal_logits_keep_the_fused_order_and_add_nothing(logit):
    rows = combine(scored([3, 1, 2], [logit] * 3), 1000.0)
    assert order(rows) == [1, 2, 3]
    assert rows["score"].to_list() == pytest.approx(combine(scored([1, 2, 3], [0.0] * 3), 0)["score"].to_list())


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30))
def test_weight_zero_keeps_the_fused_order(logits):
    ranks = list(range(1, len(logits) + 1))
    rows = combine(scored(ranks[::-1], logits), 0)
    assert order(rows) == rows["rank"].to_list() == ranks


def test_one_candidate_scores_zero_on_rank_one():
    rows = combine(scored([1], [4.2]), 0.3)
    assert rows.select("score", "rank").row(0) == (0.0, 1)


def test_each_query_is_standardized_for_itself():
    rows = combine(pl.concat([scored([1, 2], [0.0, 1.0], "a"), scored([1, 2], [0.0, 1000.0], "b")]), 2)
    assert rows.select("query_id", "fused_rank").rows() == [("a", 2), ("a", 1), ("b", 2), ("b", 1)]
    assert rows["score"].to_list() == pytest.approx([1, -1, 1, -1])


def test_no_candidates_combine_to_none():
    assert combine(scored([], []), 0.3).height == 0


# The stage


@pytest.fixture
def store(tmp_path) -> TableStore:
    """One query with its three chunks as fused candidates in their order."""
    store = TableStore(tmp_path)
    store.replace("chunks", "kb", make_chunks("nothing", "reset the password", "a password and more words"))
    store.replace("queries", "kb", make_queries("reset password"))
    rows = [("kb", "q0", chunk_id("a.md", number), "a.md", number + 1, 0.1, 1, [1], None, "d1") for number in range(3)]
    store.replace("fused_candidates", "kb", pl.DataFrame(rows, schema=SCHEMAS["fused_candidates"], orient="row"))
    return store


def run(store, triton, tmp_path, meter=None, **settings) -> pl.DataFrame:
    stage = RerankStage(store, triton, make_settings(tmp_path, **settings), (RERANK, "rerank-1"))
    return stage.run("kb", meter or make_meter("rerank")).sort("query_id", "rank")


def test_every_candidate_gets_the_score_of_its_own_pair(store, tmp_path):
    rows = run(store, FakeTriton(), tmp_path, rerank_weight=100)
    assert rows.select("fused_rank", "cross_encoder_score", "rank").rows() == [(2, 2.0, 1), (3, 1.0, 2), (1, 0.0, 3)]
    assert store.count("reranked_candidates", "kb") == 3
    assert rows["fallback_used"].to_list() == [False] * 3


def test_only_the_best_candidates_are_sent_longest_passage_first(store, tmp_path):
    triton = FakeTriton()
    assert run(store, triton, tmp_path, rerank_depth=2, request_batch_size=1)["fused_rank"].to_list() == [1, 2]
    assert triton.requests == [[("reset password", "reset the password")], [("reset password", "nothing")]]


def test_a_second_run_computes_nothing_until_weight_or_candidates_change(store, tmp_path):
    triton, meter = FakeTriton(), make_meter("rerank")
    first = run(store, triton, tmp_path)
    again = run(store, triton, tmp_path, meter)
    assert again.equals(first.select(again.columns))
    assert (len(triton.requests), meter.record().items) == (1, {"reused": 3})
    run(store, triton, tmp_path, rerank_weight=0.9)
    fused = store.read("fused_candidates", "kb").with_columns(input_digest=pl.lit("d2"))
    store.replace("fused_candidates", "kb", fused)
    run(store, triton, tmp_path)
    assert len(triton.requests) == 3


def test_without_candidates_there_is_no_inference(tmp_path):
    triton = FakeTriton()
    assert run(TableStore(tmp_path), triton, tmp_path).height == 0
    assert triton.requests == []
