import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.retrieval.rerank_score import combine, final_scores
from embedder_assets.serving.models.description import ScoreFormula

LOGIT_ONLY = ScoreFormula(cross_encoder=0.9, agreement=0)
NOTHING = ScoreFormula(cross_encoder=0, agreement=0)


SCHEMA = {"query_id": pl.String, "fused_rank": pl.Int64, "fused_score": pl.Float64, "cross_encoder_score": pl.Float64}


def scored(ranks: list[int], logits: list[float], query: str = "q") -> pl.DataFrame:
    """Candidates whose fused scores fall by 0.1 from rank to rank."""
    rows = [(query, rank, 1 - 0.1 * rank, logit) for rank, logit in zip(ranks, logits, strict=True)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def apart(count: int) -> np.ndarray:
    """Vectors that are equally unlike each other."""
    return np.eye(max(count, 1), dtype=np.float32)[:count]


def order(rows: pl.DataFrame) -> list[int]:
    return rows["fused_rank"].to_list()


def test_score_adds_both_standardized_terms():
    # 0.9, 0.8, 0.7 standardized: sqrt(3/2), 0, -sqrt(3/2). Logits 0, 0, 3: -1, -1, 2 over sqrt(2).
    fused, low, high = math.sqrt(1.5), -1 / math.sqrt(2), 2 / math.sqrt(2)
    rows = combine(scored([1, 2, 3], [0.0, 0.0, 3.0]), apart(3), LOGIT_ONLY)
    assert (order(rows), rows["rank"].to_list()) == ([1, 3, 2], [1, 2, 3])
    assert rows["score"].to_list() == pytest.approx([fused + 0.9 * low, -fused + 0.9 * high, 0.9 * low])


def test_heavy_weight_lets_cross_encoder_decide():
    weights = ScoreFormula(cross_encoder=100, agreement=0)
    assert order(combine(scored([1, 2, 3], [-5.0, 1.0, 4.0]), apart(3), weights)) == [3, 2, 1]


@pytest.mark.parametrize("logit", [0.0, 0.1, -7.3])
def test_equal_logits_keep_fused_order(logit):
    rows = combine(scored([3, 1, 2], [logit] * 3), apart(3), ScoreFormula(cross_encoder=1000, agreement=0))
    assert order(rows) == [1, 2, 3]
    plain = combine(scored([1, 2, 3], [0.0] * 3), apart(3), NOTHING)
    assert rows["score"].to_list() == pytest.approx(plain["score"].to_list())


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30))
def test_zero_weights_keep_fused_order(logits):
    ranks = list(range(1, len(logits) + 1))
    rows = combine(scored(ranks[::-1], logits), apart(len(ranks)), NOTHING)
    assert order(rows) == rows["rank"].to_list() == ranks


@pytest.mark.parametrize("standardize", [True, False])
def test_missing_logit_counts_as_query_mean(standardize):
    weights = ScoreFormula(cross_encoder=3, agreement=1, standardize=standardize)
    missing = pl.concat([scored([1, 2, 3], [4.0, None, -1.0]), scored([1, 2], [9.0, 9.0], "other")])
    filled = pl.concat([scored([1, 2, 3], [4.0, 1.5, -1.0]), scored([1, 2], [9.0, 9.0], "other")])
    rows = combine(missing, apart(5), weights)
    assert rows["score"].to_list() == combine(filled, apart(5), weights)["score"].to_list()
    assert rows["cross_encoder_score"].null_count() == 1


def test_no_logits_keep_fused_order():
    assert order(combine(scored([2, 1, 3], [None] * 3), apart(3), LOGIT_ONLY)) == [1, 2, 3]


def test_missing_vector_has_mean_agreement():
    weights = ScoreFormula(cross_encoder=0, agreement=1)
    vectors = np.array([[1, 0], [0, 1], [np.nan, np.nan]], np.float32)
    fused, logits = np.array([0.5, 0.5, 0.5]), np.zeros(3)
    scores = final_scores(fused, logits, vectors, weights)
    assert scores[2] == pytest.approx(scores[:2].mean())
    assert final_scores(fused, logits, np.full((3, 2), np.nan, np.float32), weights).tolist() == [0, 0, 0]
    assert final_scores(fused, logits, np.empty((3, 0), np.float32), weights).tolist() == [0, 0, 0]


def test_unstandardized_logits_keep_their_scale():
    weights = ScoreFormula(cross_encoder=1, agreement=0, standardize=False)
    unsure = combine(scored([1, 2, 3], [0.0, 0.0, 2.0]), apart(3), weights)
    sure = combine(scored([1, 2, 3], [0.0, 0.0, 5.0]), apart(3), weights)
    assert (order(unsure), order(sure)) == ([1, 3, 2], [3, 1, 2])
    assert unsure["score"].to_list() == pytest.approx([math.sqrt(1.5), 2 - math.sqrt(1.5), 0])
    same = ScoreFormula(cross_encoder=1, agreement=0)
    for logits in ([0.0, 0.0, 2.0], [0.0, 0.0, 5.0]):
        assert order(combine(scored([1, 2, 3], logits), apart(3), same)) == [1, 3, 2]


def test_agreement_breaks_ties():
    # Ranks 1 to 4; the third is almost the first, the others point elsewhere.
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0.96, 0, 0.28], [0, 0, -1]], np.float32)
    assert order(combine(scored([1, 2, 3, 4], [0.0] * 4), vectors, ScoreFormula(agreement=1))) == [1, 3, 2, 4]


def test_agreement_cannot_unseat_clear_winner():
    # Three candidates agree with each other, but the first is softmax_weights alone: its own likeness is the largest.
    vectors = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    rows = combine(scored([1, 2, 3, 4], [9.0, 0.0, 0.0, 0.0]), vectors, ScoreFormula(cross_encoder=2, agreement=1))
    assert order(rows)[0] == 1


def test_low_temperature_follows_the_best_candidate():
    fused, logits = np.array([0.9, 0.8, 0.7]), np.array([2.0, 0.0, 0.0])
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    cold = final_scores(fused, logits, vectors, ScoreFormula(agreement=1, temperature=1e-3))
    alone = final_scores(fused, logits, vectors, ScoreFormula(agreement=0))
    likeness = np.array([1, 0, 0.6])
    assert cold - alone == pytest.approx((likeness - likeness.mean()) / likeness.std(), abs=1e-5)


def test_one_candidate_scores_zero_on_rank_one():
    rows = combine(scored([1], [4.2]), apart(1), ScoreFormula())
    assert rows.select("score", "rank").row(0) == (0.0, 1)


def test_fused_scores_count_not_ranks():
    close = pl.DataFrame([("q", 1, 0.90, 0.0), ("q", 2, 0.89, 1.0), ("q", 3, 0.1, 0.0)], schema=SCHEMA, orient="row")
    far = close.with_columns(fused_score=pl.Series([0.9, 0.2, 0.1]))
    weights = ScoreFormula(cross_encoder=0.5, agreement=0, standardize=False)
    assert order(combine(close, apart(3), weights)) == [2, 1, 3]
    assert order(combine(far, apart(3), weights)) == [1, 2, 3]


def test_each_query_is_scored_for_itself():
    pairs = pl.concat([scored([1, 2], [0.0, 1.0], "a"), scored([1, 2], [0.0, 1000.0], "b")])
    rows = combine(pairs, apart(4), ScoreFormula(cross_encoder=2, agreement=0))
    assert rows.select("query_id", "fused_rank").rows() == [("a", 2), ("a", 1), ("b", 2), ("b", 1)]
    assert rows["score"].to_list() == pytest.approx([1, -1, 1, -1])


def test_no_candidates_combine_to_none():
    rows = combine(scored([], []), np.empty((0, 0), np.float32), ScoreFormula())
    assert (rows.height, rows.columns[-2:]) == (0, ["score", "rank"])
