"""How well does each stage order the documents, and does the rerank stage earn its place?

The real pipeline runs on the judged collections; nDCG@10 is read from its tables. Next to the stages stand three orders
of the same candidates that show what each part of the final score gives: the cross-encoder's logit alone, the fused
rank with the logit, and the fused rank with the agreement.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.common.acceptance import outcome
from benchmarks.common.judged_collections import NAMES, prepare
from embedder_assets.embedding.dense import as_matrix
from embedder_assets.evaluation.evaluate import EvaluateStage, candidate_rankings, evaluate_rankings
from embedder_assets.evaluation.model_comparison import paired_p_value
from embedder_assets.evaluation.results import NDCG
from embedder_assets.retrieval.rerank_score import combine
from embedder_assets.run import launch
from embedder_assets.run_context import Pipeline
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.settings import load_settings

RANKINGS = (
    "dense",
    "sparse",
    "fused",
    "cross-encoder alone",
    "fused + cross-encoder",
    "fused + agreement",
    "reranked",
)
# Of nDCG@10, from the issue that added the reranker.
MOST_BELOW_FUSED = 0.005
LEAST_MEAN_GAIN = 0.015

Values = dict[str, NDArray[np.float64]]


def main() -> None:
    """Prints the table and what holds; the exit status is 1 where something does not."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = args.corpus or prepare(Path(scratch) / "corpus", tuple(args.collections))
        home = args.home or Path(scratch) / "home"
        settings = load_settings(
            {
                "home": (home, "benchmark"),
                "corpus_dir": (corpus, "benchmark"),
                "quality_tolerance": (1.0, "benchmark"),
                "enable_sparse": (True, "benchmark"),
                "enable_rerank": (True, "benchmark"),
            }
        )
        pipeline = Pipeline(settings)
        try:
            result = launch(pipeline)
            if not result.success:
                sys.exit("\n".join(result.problems))
            values = {name: by_query(pipeline, name) for name in result.collections}
        finally:
            pipeline.close()
    values = {name: found for name, found in values.items() if found}
    print(render(values))
    held = verdicts(values)
    print("\n" + "\n".join(f"- {sentence}: {outcome(holds)}" for sentence, holds in held))
    sys.exit(0 if all(holds for _, holds in held) else 1)


def by_query(pipeline: Pipeline, collection: str) -> Values:
    """nDCG@10 of each ranking, an array over the judged queries in one order; empty without judgements."""
    store = pipeline.store
    qrels = EvaluateStage(store, pipeline.settings).judgements(collection)
    if not qrels:
        return {}
    fused = store.read("fused_candidates", collection)
    reranked = store.read("reranked_candidates", collection)
    weights = pipeline.triton.score_formula(pipeline.settings.rerank_model)
    orders = {
        "cross-encoder alone": by_logit(reranked),
        "fused + cross-encoder": again(pipeline, collection, weights.model_copy(update={"agreement": 0.0})),
        "fused + agreement": again(pipeline, collection, weights.model_copy(update={"cross_encoder": 0.0})),
    }
    rankings = candidate_rankings(fused, reranked, sparse=True)
    for name, order in orders.items():
        rankings[name] = candidate_rankings(fused, order, sparse=True)["reranked"]
    results = evaluate_rankings(rankings, qrels).filter(measure=NDCG).sort("query_id")
    return {name: results.filter(ranking=name)["value"].to_numpy() for name in RANKINGS}


def by_logit(reranked: pl.DataFrame) -> pl.DataFrame:
    """The reranked candidates in the order of their logits."""
    ordered = reranked.sort("query_id", "cross_encoder_score", descending=[False, True])
    return ordered.with_columns(rank=pl.int_range(1, pl.len() + 1).over("query_id"))


def again(pipeline: Pipeline, collection: str, weights: ScoreFormula) -> pl.DataFrame:
    """The reranked candidates by other weights of the same evidence."""
    rows = pipeline.store.read("reranked_candidates", collection).drop("score", "rank")
    model = pipeline.settings.dense_models[0]
    vectors = pipeline.store.read(
        "dense_embeddings", collection, ["chunk_id", "embedding"], where=pl.col("model") == model
    )
    aligned = rows.select("chunk_id").join(vectors, on="chunk_id", maintain_order="left")
    return combine(rows, as_matrix(aligned["embedding"]), weights)


def render(values: dict[str, Values]) -> str:
    """The table, in Markdown."""
    names = list(values)
    lines = [f"| {NDCG} | {' | '.join(names)} | mean |", "|---" * (len(names) + 2) + "|"]
    for ranking in RANKINGS:
        means = [float(values[name][ranking].mean()) for name in names]
        lines.append(f"| {ranking} | {' | '.join(f'{mean:.4f}' for mean in [*means, np.mean(means)])} |")
    gains = [values[name]["reranked"] - values[name]["fused"] for name in names]
    shown = [f"{gain.mean():+.4f}" for gain in gains] + [f"{np.mean([gain.mean() for gain in gains]):+.4f}"]
    lines.append(f"| reranked - fused | {' | '.join(shown)} |")
    p_values = [paired_p_value(values[name]["fused"], values[name]["reranked"]) for name in names]
    lines.append(f"| p, paired permutation | {' | '.join(f'{value:.3f}' for value in p_values)} | |")
    lines.append(f"| judged queries | {' | '.join(str(len(gain)) for gain in gains)} | |")
    return "\n".join(lines)


def verdicts(values: dict[str, Values]) -> list[tuple[str, bool]]:
    """What was asked for, and whether it holds."""

    def mean(ranking: str) -> float:
        return float(np.mean([found[ranking].mean() for found in values.values()]))

    lowest = min(float((found["reranked"] - found["fused"]).mean()) for found in values.values())
    gain = mean("reranked") - mean("fused")
    better = max(mean("dense"), mean("sparse"))
    return [
        (f"reranked is nowhere more than {MOST_BELOW_FUSED} below fused ({lowest:+.4f})", lowest >= -MOST_BELOW_FUSED),
        (f"reranked is at least {LEAST_MEAN_GAIN} above fused on average ({gain:+.4f})", gain >= LEAST_MEAN_GAIN),
        (
            f"fused is on average as good as the better of dense and sparse ({mean('fused') - better:+.4f})",
            mean("fused") >= better,
        ),
    ]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="nDCG@10 of every stage on judged collections.")
    parser.add_argument("--collections", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--corpus", type=Path, help="a corpus folder of your own with judged collections")
    parser.add_argument("--home", type=Path, help="keep the tables here; a second run computes only what changed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
