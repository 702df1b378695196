import numpy as np
import polars as pl
import pytest

from embedder_assets.evaluation.evaluate import RESULT_SCHEMA
from embedder_assets.evaluation.model_comparison import differences, paired_p_value


def results(values: dict[str, float], ranking: str = "dense", measure: str = "nDCG@10") -> pl.DataFrame:
    rows = [(query, ranking, measure, value) for query, value in values.items()]
    return pl.DataFrame(rows, schema=RESULT_SCHEMA, orient="row")


def test_differences_pair_the_queries_by_name():
    before = results({"a": 0.2, "b": 0.5, "c": 1.0})
    after = results({"c": 0.8, "a": 0.6, "b": 0.5})
    (found,) = differences(before, after)
    assert (found.current, found.candidate) == pytest.approx((17 / 30, 19 / 30))
    assert (found.better, found.worse) == (1, 1)


def test_each_ranking_and_measure_is_compared_for_itself():
    before = pl.concat([results({"a": 0.1}), results({"a": 0.2}, "fused"), results({"a": 0.3}, "fused", "R@100")])
    after = before.with_columns(pl.col("value") * 2)
    found = [(row.ranking, row.measure, row.candidate) for row in differences(before, after)]
    assert found == [("dense", "nDCG@10", 0.2), ("fused", "nDCG@10", 0.4), ("fused", "R@100", 0.6)]


def test_the_p_value_of_few_queries_is_exact():
    # All 2^5 signs: only the observed one and its opposite are as extreme.
    gains = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert paired_p_value(np.zeros(5), gains) == pytest.approx(2 / 32)
    assert paired_p_value(gains, np.zeros(5)) == pytest.approx(2 / 32)


def test_steady_gain_is_significant_noise_not():
    rng = np.random.default_rng(7)
    before = rng.uniform(size=100)
    assert paired_p_value(before, before + rng.normal(0, 0.1, 100)) > 0.05
    assert paired_p_value(before, before + rng.normal(0.05, 0.1, 100)) < 0.01


def test_equal_results_give_one():
    assert paired_p_value(np.array([0.5, 0.7]), np.array([0.5, 0.7])) == 1.0
