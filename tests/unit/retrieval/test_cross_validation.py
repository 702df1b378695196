import numpy as np
import polars as pl
import pytest

from embedder_assets.retrieval.cross_validation import (
    formula_of,
    learn_dense_weight,
    learn_rerank_weights,
    out_of_fold_fused,
    out_of_fold_reranked,
    weights_of,
)
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT, convex_combination, in_tie_order
from embedder_assets.retrieval.ranking_weights import LearnedWeights, fold_of
from embedder_assets.retrieval.rerank_score import combine
from embedder_assets.serving.models.description import ScoreFormula

QUERIES = [f"q{number}" for number in range(60)]
CHUNKS = 12
QRELS = {query: {"d0": 1} for query in QUERIES}
FORMULA = ScoreFormula(cross_encoder=0.1, agreement=0.0, standardize=False)


def candidates(dense_tells: float, sparse_tells: float) -> pl.DataFrame:
    """Candidates of which the first is relevant; a model's score tells so by so many deviations of what is chance."""
    random = np.random.default_rng(1)
    frames = []
    for query in QUERIES:
        dense = 0.3 + 0.05 * (random.normal(size=CHUNKS) + dense_tells * (np.arange(CHUNKS) == 0))
        sparse = 20 + 3 * (random.normal(size=CHUNKS) + sparse_tells * (np.arange(CHUNKS) == 0))
        frames.append(
            pl.DataFrame(
                {
                    "query_id": query,
                    "chunk_id": [f"c{number:02}" for number in range(CHUNKS)],
                    "doc_id": [f"d{number}" for number in range(CHUNKS)],
                    "dense_score": dense,
                    "sparse_score": sparse,
                }
            ).with_columns(
                dense_rank=pl.col("dense_score").rank("ordinal", descending=True).cast(pl.Int64),
                sparse_rank=pl.col("sparse_score").rank("ordinal", descending=True).cast(pl.Int64),
            )
        )
    rows = pl.concat(frames)
    return rows.with_columns(dense_ranks=pl.concat_list("dense_rank"), dense_scores=pl.concat_list("dense_score"))


@pytest.mark.parametrize(("dense", "sparse", "low", "high"), [(4, 0, 0.85, 1.0), (0, 4, 0.0, 0.5)])
def test_a_ranking_that_is_noise_loses_its_weight(dense, sparse, low, high):
    learned = learn_dense_weight(candidates(dense, sparse), QRELS, depth=100)
    assert low <= learned.weights["dense"] <= high
    assert learned.gain > 0.01


def test_learned_weight_does_not_depend_on_row_order():
    rows = candidates(3, 1)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=2)
    assert learn_dense_weight(rows, QRELS, 100) == learn_dense_weight(shuffled, QRELS, 100)


def test_without_judgements_nothing_is_learned():
    assert learn_dense_weight(candidates(3, 1), {}, 100) is None


def test_each_query_is_ranked_by_its_fold():
    fused = convex_combination(candidates(1, 1), 100, DENSE_WEIGHT, "query_id")
    folds = [{"dense": fold / 4} for fold in range(5)]
    learned = LearnedWeights({"dense": 0.3}, folds, len(QUERIES), 0.5, 0.6)
    rows = out_of_fold_fused(fused, learned, 100)
    assert rows.columns == fused.columns
    for query in QUERIES[:8]:
        own = fused.filter(query_id=query).drop("score", "rank")
        expected = convex_combination(own, 100, folds[fold_of(query)]["dense"], "query_id")
        assert rows.filter(query_id=query).sort("rank")["chunk_id"].to_list() == expected["chunk_id"].to_list()


def test_without_gain_rows_stay():
    fused = convex_combination(candidates(1, 1), 100, DENSE_WEIGHT, "query_id")
    none = LearnedWeights({"dense": 0.8}, [{"dense": 0.8}] * 5, 60, 0.5, 0.5)
    assert out_of_fold_fused(fused, none, 100) is fused
    assert out_of_fold_fused(fused, None, 100) is fused


def pairs(cross_encoder_tells: float) -> pl.DataFrame:
    """The fused candidates with the score of a cross-encoder that knows so much."""
    fused = convex_combination(candidates(1, 1), 100, DENSE_WEIGHT, "query_id")
    random = np.random.default_rng(7)
    logits = random.normal(size=fused.height) * 2 + cross_encoder_tells * (fused["doc_id"] == "d0").to_numpy()
    fused = fused.with_columns(cross_encoder_score=pl.Series(logits))
    return fused.rename({"rank": "fused_rank", "score": "fused_score"})


def vectors_of(rows: pl.DataFrame) -> np.ndarray:
    """Each document points elsewhere."""
    return np.eye(CHUNKS, dtype=np.float32)[rows["doc_id"].str.strip_prefix("d").cast(pl.Int64).to_numpy()]


def test_cross_encoder_that_helps_gains_weight():
    learned = learn_rerank_weights(pairs(6), vectors_of, QRELS, FORMULA)
    assert learned.weights["cross_encoder"] > 0.25
    assert learned.gain > 0.02


def test_cross_encoder_that_harms_loses_weight():
    formula = FORMULA.model_copy(update={"cross_encoder": 2.0})
    learned = learn_rerank_weights(pairs(-2), vectors_of, QRELS, formula)
    assert learned.weights["cross_encoder"] < 1.0
    assert learned.weights["temperature"] == formula.temperature


def test_missing_scores_do_not_stop_learning():
    rows = pairs(6).with_columns(cross_encoder_score=pl.when(pl.col("query_id") != "q0").then("cross_encoder_score"))
    assert learn_rerank_weights(rows, vectors_of, QRELS, FORMULA).weights["cross_encoder"] > 0.25


def test_out_of_fold_reranked_uses_each_fold():
    rows = pairs(6)
    folds = [weights_of(FORMULA.model_copy(update={"cross_encoder": fold / 4})) for fold in range(5)]
    learned = LearnedWeights(folds[0], folds, 60, 0.5, 0.6)
    found = out_of_fold_reranked(rows, vectors_of, learned)
    for query in QUERIES[:8]:
        own = rows.filter(query_id=query)
        expected = combine(own, vectors_of(own), formula_of(folds[fold_of(query)]))
        assert found.filter(query_id=query).sort("rank")["chunk_id"].to_list() == expected["chunk_id"].to_list()


def test_no_candidates_are_ranked_to_none():
    fused = convex_combination(candidates(1, 1), 100, DENSE_WEIGHT, "query_id").clear()
    assert out_of_fold_fused(fused, LearnedWeights({"dense": 0.3}, [{"dense": 0.3}] * 5, 60, 0.5, 0.6), 100).height == 0
    learned = LearnedWeights(weights_of(FORMULA), [weights_of(FORMULA)] * 5, 60, 0.5, 0.6)
    assert out_of_fold_reranked(pairs(1).clear(), vectors_of, learned).height == 0
    assert learn_rerank_weights(pairs(1).clear(), vectors_of, {}, FORMULA) is None


def test_formula_survives_as_numbers():
    for formula in (FORMULA, ScoreFormula()):
        assert formula_of(weights_of(formula)) == formula


def test_tie_order_works_without_digests():
    rows = candidates(1, 1)
    assert in_tie_order(rows.reverse(), "query_id")["dense_rank"].to_list()[:3] == [1, 2, 3]
