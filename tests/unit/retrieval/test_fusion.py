import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.retrieval.exact_index import EMPTY_RANKING, RANKING_SCHEMA, ChunkIndex, ExactBlock
from embedder_assets.retrieval.fusion import reciprocal_rank_fusion
from tests.support.rankings import chunk_name, numbered


def ranking(*queries: list[int]) -> pl.DataFrame:
    """A ranking of each query, given as its chunks, best first."""
    rows = [
        (query, chunk_name(chunk), chunk_name(chunk), rank, 1.0)
        for query, best in enumerate(queries)
        for rank, chunk in enumerate(best, 1)
    ]
    return pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")


def order(fused: pl.DataFrame) -> list[int]:
    return numbered(fused)["chunk_id"].to_list()


def test_score_is_the_sum_of_reciprocal_ranks():
    fused = reciprocal_rank_fusion([ranking([10, 20])], ranking([20, 30]))
    assert numbered(fused).drop("score", "dense_ranks").rows() == [
        (0, 20, 1, 2, 1),
        (0, 10, 2, 1, None),
        (0, 30, 3, None, 2),
    ]
    assert fused["score"].to_list() == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_dense_rank_is_the_best_of_all():
    fused = reciprocal_rank_fusion([ranking([10, 20]), ranking([30, 20])], ranking([20]))
    ranks = numbered(fused).select("chunk_id", "dense_rank", "dense_ranks", "sparse_rank").rows()
    assert ranks == [(20, 2, [2, 2], 1), (10, 1, [1, None], None), (30, 1, [None, 1], None)]
    assert fused["score"].to_list() == pytest.approx([2 / 62 + 1 / 61, 1 / 61, 1 / 61])


def test_fusion_keeps_the_union():
    fused = reciprocal_rank_fusion([ranking([1, 2]), ranking([3, 4])], ranking([5, 6]))
    assert sorted(order(fused)) == [1, 2, 3, 4, 5, 6]


def test_ties_go_by_dense_rank_then_id():
    assert order(reciprocal_rank_fusion([ranking([7, 3])], ranking([3, 7]))) == [7, 3]
    assert order(reciprocal_rank_fusion([ranking([9])], ranking([2]))) == [9, 2]


def test_ties_go_by_text_not_file_name():
    digests = pl.col("chunk_id").replace({chunk_name(5): "a", chunk_name(3): "b"})
    first, second = (ranking([chunk]).with_columns(content_sha256=digests) for chunk in (3, 5))
    assert reciprocal_rank_fusion([first, second], EMPTY_RANKING)["chunk_id"].to_list() == [
        chunk_name(5),
        chunk_name(3),
    ]
    eye = np.eye(2, dtype=np.float32)[[0, 0]]
    block = ExactBlock(pl.DataFrame({"chunk_id": ["c1", "c2"], "content_sha256": ["b", "a"]}), eye)
    assert ChunkIndex([[block]], None).rank_dense(0, eye[:1], 1)["chunk_id"].to_list() == ["c2"]


def test_dense_order_stays_without_sparse_ranking():
    fused = reciprocal_rank_fusion([ranking([5, 1, 3])], EMPTY_RANKING)
    assert order(fused) == [5, 1, 3]
    assert fused["sparse_rank"].null_count() == 3


def test_each_query_has_its_own_ranks():
    fused = reciprocal_rank_fusion([ranking([1, 2], [2, 1])], ranking([], [2]))
    assert numbered(fused).select("query", "chunk_id", "rank").rows() == [(0, 1, 1), (0, 2, 2), (1, 2, 1), (1, 1, 2)]


def test_no_rankings_fuse_to_nothing():
    assert reciprocal_rank_fusion([EMPTY_RANKING, EMPTY_RANKING], EMPTY_RANKING).height == 0


best_first = st.lists(st.integers(0, 30), unique=True, max_size=20)
rankings = st.lists(st.tuples(best_first, best_first, best_first), min_size=1, max_size=3)


@given(rankings)
def test_fused_ranks_and_scores_are_consistent(queries):
    first, second, sparse = (ranking(*each) for each in zip(*queries, strict=True))
    fused = reciprocal_rank_fusion([first, second], sparse)
    for query, held in enumerate(queries):
        rows = fused.filter(pl.col("query") == query)
        assert rows["rank"].to_list() == list(range(1, len(set().union(*held)) + 1))
        assert rows["score"].is_sorted(descending=True)
        for row in numbered(rows).iter_rows(named=True):
            *dense, last = (best.index(row["chunk_id"]) + 1 if row["chunk_id"] in best else None for best in held)
            assert (row["dense_ranks"], row["sparse_rank"]) == (dense, last)
            assert row["dense_rank"] == min((rank for rank in dense if rank), default=None)
            assert row["score"] == pytest.approx(sum(1 / (60 + rank) for rank in (*dense, last) if rank))


def test_sparse_order_stays_without_dense_ranking():
    fused = reciprocal_rank_fusion([], ranking([7, 3]))
    assert numbered(fused).select("chunk_id", "rank", "dense_rank", "sparse_rank").rows() == [
        (7, 1, None, 1),
        (3, 2, None, 2),
    ]
