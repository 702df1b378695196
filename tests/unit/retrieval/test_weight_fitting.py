import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.evaluation.evaluate import evaluate_rankings
from embedder_assets.retrieval.ranking_weights import FOLDS, fold_of
from embedder_assets.retrieval.weight_fitting import MOST_QUERIES, fit, judged_queries

OPTIONS = [{"dense": 0.0}, {"dense": 0.5}, {"dense": 1.0}]
DEFAULT = {"dense": 0.5}


def names(count: int) -> list[str]:
    return [f"q{number}" for number in range(count)]


def linear(slope: float):
    """nDCG that grows with the weight, the same for all queries."""
    return lambda query, weights: 0.5 + slope * (weights["dense"] - 0.5)


def test_same_gain_of_all_queries_moves_the_weight_whole():
    learned = fit(names(60), OPTIONS, DEFAULT, linear(0.2))
    assert learned.weights == {"dense": 1.0}
    assert list(learned.folds) == [{"dense": 1.0}] * FOLDS
    assert (learned.queries, learned.default_ndcg, learned.gain) == (60, pytest.approx(0.5), pytest.approx(0.1))


@pytest.mark.parametrize(("gain", "share"), [(0.09, 1.0), (0.03, 1 - 0.1**2 / 39 / 0.03**2), (0.01, 0.0)])
def test_weight_moves_by_the_evidence(gain, share):
    # From 0.5 to 1, half of the queries gain 0.1 more and half 0.1 less than the mean gain.
    learned = fit(names(40), OPTIONS, DEFAULT, lambda q, w: 0.5 + 2 * (gain + (-1) ** q * 0.1) * (w["dense"] - 0.5))
    moved = learned.weights["dense"] - 0.5
    assert moved == pytest.approx(0.5 * share)


def test_too_few_queries_learn_nothing():
    assert fit(names(9), OPTIONS, DEFAULT, linear(0.2)) is None
    assert fit([], OPTIONS, DEFAULT, linear(0.2)) is None


def test_gain_within_chance_keeps_the_default():
    # What one query gains the next loses, but for a little.
    learned = fit(names(40), OPTIONS, DEFAULT, lambda q, w: 0.5 + ((-1) ** q * 0.3 + 0.01) * (w["dense"] - 0.5))
    assert (learned.weights, learned.gain) == (DEFAULT, 0)
    assert list(learned.folds) == [DEFAULT] * FOLDS
    assert "no evidence" in learned.described()


def test_learned_gain_is_out_of_fold():
    # Each query alone would be best with another weight: what fits some says nothing of the others.
    chance = np.random.default_rng(3).random((50, 3))
    learned = fit(names(50), OPTIONS, DEFAULT, lambda q, w: float(np.interp(w["dense"], [0, 0.5, 1], chance[q])))
    assert learned.ndcg <= chance.max(axis=1).mean() - 0.1
    assert learned.gain >= 0


def test_one_fold_without_queries_is_fitted_on_all():
    same_fold = [name for name in names(400) if fold_of(name) == 0][:20]
    learned = fit(same_fold, OPTIONS, DEFAULT, linear(0.2))
    # The only fold has no others to learn from, so nothing is known of queries that were not fitted on.
    assert learned.weights == DEFAULT


grades = st.integers(0, 3)


@given(
    st.lists(st.tuples(st.integers(0, 14), st.floats(0, 1, allow_subnormal=False)), min_size=1, max_size=40),
    st.lists(grades, min_size=15, max_size=15).filter(any),
)
def test_ndcg_is_that_of_trec_eval(pairs, judged):
    qrels = {"q": {f"d{number:02}": grade for number, grade in enumerate(judged)}}
    # Distinct scores, or ties between documents would be broken in two ways.
    scores = np.argsort(np.argsort([score for _, score in pairs], kind="stable")).astype(float)
    rows = pl.DataFrame({"query_id": "q", "doc_id": [f"d{document:02}" for document, _ in pairs]})
    ranked = rows.with_columns(rank=(len(pairs) - pl.Series(scores)).cast(pl.Int64))
    (found,) = judged_queries(rows, qrels)
    expected = evaluate_rankings({"fused": ranked}, qrels).filter(measure="nDCG@10")["value"].item()
    assert found.ndcg(scores) == pytest.approx(expected)


def test_own_document_of_a_query_is_not_learned_from():
    rows = pl.DataFrame({"query_id": "q", "doc_id": ["q", "a", "b", "q"]})
    (found,) = judged_queries(rows, {"q": {"a": 1}})
    assert found.ndcg(np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx(1)
    assert found.ndcg(np.array([4.0, 1.0, 2.0, 3.0])) == pytest.approx(1 / np.log2(3))


def test_many_judged_queries_are_sampled():
    rows = pl.DataFrame({"query_id": names(MOST_QUERIES + 50), "doc_id": "d"})
    qrels = {name: {"d": 1} for name in names(MOST_QUERIES + 50)}
    chosen = judged_queries(rows, qrels)
    assert len(chosen) == MOST_QUERIES
    assert [each.query_id for each in judged_queries(rows.reverse(), qrels)] == [each.query_id for each in chosen]


def test_query_without_candidates_is_not_learned_from():
    rows = pl.DataFrame({"query_id": ["a"], "doc_id": ["d"]})
    assert [each.query_id for each in judged_queries(rows, {"a": {"d": 1}, "b": {"d": 1}})] == ["a"]
