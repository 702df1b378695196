import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.retrieval.exact_index import EMPTY_RANKING, RANKING_SCHEMA, ChunkIndex, ExactBlock
from embedder_assets.retrieval.fusion_score import convex_combination, merge_rankings, reciprocal_rank_fusion
from tests.support.rankings import chunk_name, numbered


def ranking(*queries: list[int]) -> pl.DataFrame:
    """A ranking of each query, given as its chunks, best first."""
    return scored(*(dict.fromkeys(best, 1.0) for best in queries))


def scored(*queries: dict[int, float]) -> pl.DataFrame:
    """A ranking of each query, given as its chunks and their scores, best first."""
    rows = [
        (query, chunk_name(chunk), chunk_name(chunk), rank, score)
        for query, best in enumerate(queries)
        for rank, (chunk, score) in enumerate(best.items(), 1)
    ]
    return pl.DataFrame(rows, schema=RANKING_SCHEMA, orient="row")


def rrf(dense: list[pl.DataFrame], sparse: pl.DataFrame) -> pl.DataFrame:
    return reciprocal_rank_fusion(merge_rankings(dense, sparse))


def convex(dense: list[pl.DataFrame], sparse: pl.DataFrame, weight: float = 0.75, depth: int = 3) -> pl.DataFrame:
    return convex_combination(merge_rankings(dense, sparse), depth, weight)


def scores(fused: pl.DataFrame) -> dict[int, float]:
    return dict(numbered(fused).select("chunk_id", "score").iter_rows())


def order(fused: pl.DataFrame) -> list[int]:
    return numbered(fused)["chunk_id"].to_list()


def test_score_is_the_sum_of_reciprocal_ranks():
    fused = rrf([ranking([10, 20])], ranking([20, 30]))
    assert numbered(fused).select("query", "chunk_id", "rank", "dense_rank", "sparse_rank").rows() == [
        (0, 20, 1, 2, 1),
        (0, 10, 2, 1, None),
        (0, 30, 3, None, 2),
    ]
    assert fused["score"].to_list() == pytest.approx([1 / 61 + 1 / 62, 1 / 61, 1 / 62])


def test_dense_rank_is_the_best_of_all():
    fused = rrf([ranking([10, 20]), ranking([30, 20])], ranking([20]))
    ranks = numbered(fused).select("chunk_id", "dense_rank", "dense_ranks", "sparse_rank").rows()
    assert ranks == [(20, 2, [2, 2], 1), (10, 1, [1, None], None), (30, 1, [None, 1], None)]
    assert fused["score"].to_list() == pytest.approx([2 / 62 + 1 / 61, 1 / 61, 1 / 61])


def test_fusion_keeps_the_union():
    fused = rrf([ranking([1, 2]), ranking([3, 4])], ranking([5, 6]))
    assert sorted(order(fused)) == [1, 2, 3, 4, 5, 6]


def test_convex_score_weighs_shifted_scores():
    # Dense: 0.6 + 1 is the best, so 1 and 1.2 / 1.6. Sparse: 8 is the best, so 1 and 2 / 8.
    fused = convex([scored({10: 0.6, 20: 0.2})], scored({20: 8.0, 10: 2.0}))
    assert scores(fused) == pytest.approx({10: 0.75 + 0.25 * 0.25, 20: 0.75 * 0.75 + 0.25})
    assert numbered(fused).select("chunk_id", "dense_score", "dense_scores", "sparse_score").rows() == [
        (10, 0.6, [0.6], 2.0),
        (20, 0.2, [0.2], 8.0),
    ]


def test_missing_dense_score_counts_as_the_last():
    fused = convex([scored({10: 0.6, 20: 0.2})], scored({30: 8.0}))
    assert scores(fused)[30] == pytest.approx(0.75 * 0.75 + 0.25)
    row = numbered(fused).filter(chunk_id=30)
    assert row.select("dense_score", "dense_scores").row(0) == (None, [None])


def test_missing_sparse_score_counts_as_last_of_full_ranking():
    dense = scored({10: 0.6, 20: 0.2})
    full = scored({20: 8.0, 40: 6.0, 50: 4.0})
    assert scores(convex([dense], full))[10] == pytest.approx(0.75 + 0.25 * 0.5)
    # With room for a fourth there would be one, had it a common term.
    assert scores(convex([dense], full, depth=4))[10] == pytest.approx(0.75)


def test_dense_part_is_the_mean_of_the_models():
    # First: 1 and 1.2 / 1.6. Second: 1.5 / 2 and 1. The last of the first model stands for what it lacks.
    fused = convex([scored({10: 0.6, 20: 0.2}), scored({20: 1.0, 10: 0.5, 30: 0.0})], EMPTY_RANKING)
    assert scores(fused) == pytest.approx({10: 0.75 * (1 + 0.75) / 2, 20: 0.75 * 1.75 / 2, 30: 0.75 * (0.75 + 0.5) / 2})
    means = dict(numbered(fused).select("chunk_id", "dense_score").iter_rows())
    assert means == pytest.approx({10: 0.55, 20: 0.6, 30: 0.0})


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_one_ranking_keeps_its_order_at_any_weight(weight):
    only = scored({5: 0.9, 1: 0.3, 3: -0.2})
    if weight:
        assert order(convex([only], EMPTY_RANKING, weight)) == [5, 1, 3]
    if weight < 1:
        assert order(convex([], scored({5: 9.0, 1: 3.0, 3: 1.0}), weight)) == [5, 1, 3]
        assert order(convex([EMPTY_RANKING], scored({5: 9.0, 1: 3.0, 3: 1.0}), weight)) == [5, 1, 3]


def test_least_cosine_divides_nothing_by_zero():
    assert scores(convex([scored({10: -1.0})], scored({10: 4.0}))) == pytest.approx({10: 0.25})


def test_weights_of_one_and_zero_follow_one_ranking():
    dense, sparse = scored({1: 0.9, 2: 0.8, 3: 0.1}), scored({3: 9.0, 2: 5.0, 1: 1.0})
    assert order(convex([dense], sparse, 1.0)) == [1, 2, 3]
    assert order(convex([dense], sparse, 0.0)) == [3, 2, 1]


def test_lexical_scores_of_another_scale_count_alike():
    dense = scored({1: 0.9, 2: 0.8})
    small, large = scored({2: 4.0, 1: 1.0}), scored({2: 400.0, 1: 100.0})
    assert scores(convex([dense], small)) == pytest.approx(scores(convex([dense], large)))


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 90)), min_size=1, max_size=20), st.floats(0, 1))
def test_convex_score_lies_between_zero_and_one(pairs, weight):
    dense = {chunk: pair[0] for chunk, pair in enumerate(pairs)}
    sparse = {chunk: pair[1] for chunk, pair in enumerate(pairs) if pair[1] > 0}
    by_score = [dict(sorted(each.items(), key=lambda item: -item[1])) for each in (dense, sparse)]
    fused = convex([scored(by_score[0])], scored(by_score[1]), weight, depth=20)
    assert fused["score"].is_between(0, 1 + 1e-9).all()
    assert fused["score"].is_sorted(descending=True)
    assert fused["rank"].to_list() == list(range(1, len(pairs) + 1))


def test_ties_go_by_dense_rank_then_id():
    assert order(rrf([ranking([7, 3])], ranking([3, 7]))) == [7, 3]
    assert order(rrf([ranking([9])], ranking([2]))) == [9, 2]


def test_ties_go_by_text_not_file_name():
    digests = pl.col("chunk_id").replace({chunk_name(5): "a", chunk_name(3): "b"})
    first, second = (ranking([chunk]).with_columns(content_sha256=digests) for chunk in (3, 5))
    assert rrf([first, second], EMPTY_RANKING)["chunk_id"].to_list() == [
        chunk_name(5),
        chunk_name(3),
    ]
    eye = np.eye(2, dtype=np.float32)[[0, 0]]
    block = ExactBlock(pl.DataFrame({"chunk_id": ["c1", "c2"], "content_sha256": ["b", "a"]}), eye)
    assert ChunkIndex([[block]], None).rank_dense(0, eye[:1], 1)["chunk_id"].to_list() == ["c2"]


def test_dense_order_stays_without_sparse_ranking():
    fused = rrf([ranking([5, 1, 3])], EMPTY_RANKING)
    assert order(fused) == [5, 1, 3]
    assert fused["sparse_rank"].null_count() == 3


def test_each_query_has_its_own_ranks():
    fused = rrf([ranking([1, 2], [2, 1])], ranking([], [2]))
    assert numbered(fused).select("query", "chunk_id", "rank").rows() == [(0, 1, 1), (0, 2, 2), (1, 2, 1), (1, 1, 2)]


def test_no_rankings_fuse_to_nothing():
    assert rrf([EMPTY_RANKING, EMPTY_RANKING], EMPTY_RANKING).height == 0


best_first = st.lists(st.integers(0, 30), unique=True, max_size=20)
rankings = st.lists(st.tuples(best_first, best_first, best_first), min_size=1, max_size=3)


@given(rankings)
def test_fused_ranks_and_scores_are_consistent(queries):
    first, second, sparse = (ranking(*each) for each in zip(*queries, strict=True))
    fused = rrf([first, second], sparse)
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
    fused = rrf([], ranking([7, 3]))
    assert numbered(fused).select("chunk_id", "rank", "dense_rank", "sparse_rank").rows() == [
        (7, 1, None, 1),
        (3, 2, None, 2),
    ]
