"""How well does each stage order the documents, with the default weights and with those of each collection?

The real pipeline runs on the judged collections. nDCG@10 of dense, of sparse and of what is learned, out of fold, comes
from its tables; reciprocal rank fusion and the default weights are computed from the same candidates. Below the table:
which default weights leave-one-collection-out chooses, and what was asked for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.common.acceptance import outcome
from benchmarks.common.judged_collections import NAMES, prepare
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.evaluation.evaluate import candidate_rankings, evaluate_rankings
from embedder_assets.evaluation.model_comparison import paired_p_value
from embedder_assets.evaluation.results import NDCG
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT, convex_combination, reciprocal_rank_fusion
from embedder_assets.retrieval.judgements import judgements
from embedder_assets.retrieval.rerank import RerankStage, candidate_vectors
from embedder_assets.retrieval.rerank_score import combine
from embedder_assets.run import launch
from embedder_assets.run_context import Pipeline
from embedder_assets.serving.models.description import ScoreFormula
from embedder_assets.settings import load_settings
from embedder_assets.telemetry.stage_record import StageMeter

PARTS = ("dense", "sparse")
RANKINGS = (*PARTS, "rrf", "fused, default", "reranked, default", "fused, learned", "reranked, learned")
DENSE_WEIGHTS = tuple(round(0.6 + step * 0.02, 2) for step in range(16))
FORMULAS = [(cross, agree) for cross in (0.0, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3) for agree in (0.0, 0.25, 0.5)]

# Name to nDCG@10 of each judged query, in one order.
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
                "fusion": ("convex", "benchmark"),
            }
        )
        pipeline = Pipeline(settings)
        try:
            result = launch(pipeline)
            if not result.success:
                sys.exit("\n".join(result.problems))
            found = {name: Collection(pipeline, name) for name in result.collections}
            found = {name: each for name, each in found.items() if each.qrels}
            values = {name: each.values() for name, each in found.items()}
            print(render(values))
            if len(found) > 1:
                print("\n" + "\n".join(left_out(found)))
        finally:
            pipeline.close()
    held = verdicts(values)
    print("\n" + "\n".join(f"- {sentence}: {outcome(holds)}" for sentence, holds in held))
    sys.exit(0 if all(holds for _, holds in held) else 1)


class Collection:
    """The candidates of a judged collection, ranked by any weights."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self._pipeline = pipeline
        self._name = name
        self.qrels = judgements(pipeline.store, pipeline.settings, name)
        self._candidates = pipeline.store.read("fused_candidates", name).drop("score", "rank")
        rerank_model = pipeline.settings.rerank_model
        model = ModelVersion(rerank_model, pipeline.triton.fingerprint(rerank_model, "rerank"))
        self._rerank = RerankStage(pipeline.store, pipeline.triton, pipeline.settings, model)

    def values(self) -> Values:
        """nDCG@10 of every ranking of ``RANKINGS``."""
        stored = self._pipeline.store.read("evaluation_queries", self._name).filter(measure=NDCG).sort("query_id")
        of_tables = {name: stored.filter(ranking=name)["value"].to_numpy() for name in (*PARTS, "fused", "reranked")}
        rrf = reciprocal_rank_fusion(self._candidates, "query_id")
        return {
            **{name: of_tables[name] for name in PARTS},
            "rrf": self._ndcg(rrf, None),
            "fused, default": self.fused(DENSE_WEIGHT),
            "reranked, default": self.reranked(self._rerank.formula),
            "fused, learned": of_tables["fused"],
            "reranked, learned": of_tables["reranked"],
        }

    def fused(self, dense_weight: float) -> NDArray[np.float64]:
        """nDCG@10 of the convex combination."""
        return self._ndcg(self._convex(dense_weight), None)

    def reranked(self, formula: ScoreFormula) -> NDArray[np.float64]:
        """nDCG@10 of the final order, above the default fused one."""
        fused = self._convex(DENSE_WEIGHT)
        scored = self._scored(fused)
        vectors = candidate_vectors(self._pipeline.store, self._pipeline.settings, self._name, scored)
        return self._ndcg(fused, combine(scored, vectors, formula))

    def formula(self, cross_encoder: float, agreement: float) -> ScoreFormula:
        """The model's formula with other weights."""
        return self._rerank.formula.model_copy(update={"cross_encoder": cross_encoder, "agreement": agreement})

    def _convex(self, dense_weight: float) -> pl.DataFrame:
        depth = self._pipeline.settings.candidate_depth
        return convex_combination(self._candidates, depth, dense_weight, "query_id")

    def _scored(self, fused: pl.DataFrame) -> pl.DataFrame:
        """The best candidates with their logits; the model is asked about those that the table lacks, once."""
        if not hasattr(self, "_pairs"):
            best = fused.filter(pl.col("rank") <= self._pipeline.settings.rerank_depth)
            pairs = self._rerank.pairs(self._name, best.filter(pl.col("query_id").is_in(list(self.qrels))))
            columns = ["query_id", "chunk_id", "cross_encoder_score"]
            known = self._pipeline.store.read("reranked_candidates", self._name, columns)
            pairs = pairs.join(known, on=columns[:2], how="left", maintain_order="left")
            self._pairs = self._rerank.score(pairs, StageMeter("rerank", []))
        return self._pairs

    def _ndcg(self, fused: pl.DataFrame, reranked: pl.DataFrame | None) -> NDArray[np.float64]:
        judged = fused.filter(pl.col("query_id").is_in(list(self.qrels)))
        rankings = candidate_rankings(judged, reranked, sparse=True)
        final = "fused" if reranked is None else "reranked"
        results = evaluate_rankings({final: rankings[final]}, self.qrels).filter(measure=NDCG).sort("query_id")
        return results["value"].to_numpy()


def left_out(found: Mapping[str, Collection]) -> list[str]:
    """For each collection, the default weights that are best on average over the others."""
    formulas = [found[next(iter(found))].formula(*weights) for weights in FORMULAS]
    return [
        *_left_out(found, "dense weight", DENSE_WEIGHTS, lambda each, weight: each.fused(weight)),
        *_left_out(
            found,
            "(cross-encoder, agreement)",
            FORMULAS,
            lambda each, weights: each.reranked(formulas[FORMULAS.index(weights)]),
        ),
    ]


def _left_out(found: Mapping[str, Collection], what: str, options: list | tuple, value: Callable) -> list[str]:  # type: ignore[type-arg]
    means = {name: np.array([value(each, option).mean() for option in options]) for name, each in found.items()}
    lines = []
    for name, own in means.items():
        others = np.mean([each for other, each in means.items() if other != name], axis=0)
        best = int(others.argmax())
        lines.append(f"- without {name}: best {what} of the others is {options[best]}, {own[best]:.4f} on {name}")
    overall = np.mean(list(means.values()), axis=0)
    shown = ", ".join(f"{option}: {mean:.4f}" for option, mean in zip(options, overall, strict=True))
    return [*lines, f"- mean by {what}: {shown}"]


def render(values: dict[str, Values]) -> str:
    """The table, in Markdown."""
    names = list(values)
    lines = [f"| {NDCG} | {' | '.join(names)} | mean |", "|---" * (len(names) + 2) + "|"]
    for ranking in RANKINGS:
        means = [float(values[name][ranking].mean()) for name in names]
        lines.append(f"| {ranking} | {' | '.join(f'{mean:.4f}' for mean in [*means, np.mean(means)])} |")
    p_values = [paired_p_value(values[name]["rrf"], values[name]["reranked, learned"]) for name in names]
    lines.append(f"| p, rrf and reranked, learned | {' | '.join(f'{value:.3f}' for value in p_values)} | |")
    lines.append(f"| judged queries | {' | '.join(str(len(values[name]['rrf'])) for name in names)} | |")
    return "\n".join(lines)


def verdicts(values: dict[str, Values]) -> list[tuple[str, bool]]:
    """What was asked for, and whether it holds."""

    def gains(ranking: str, *others: str) -> NDArray[np.float64]:
        """By collection: how far a ranking is above the best of others."""
        means = [{name: float(each.mean()) for name, each in found.items()} for found in values.values()]
        return np.array([each[ranking] - max(each[other] for other in others) for each in means])

    asked = [
        ("fused, default", ("rrf",), 0.01, 0.005),
        ("reranked, default", ("fused, default",), 0.006, 0.01),
        ("reranked, learned", ("fused, default",), 0.012, None),
        ("reranked, learned", (*PARTS, "fused, learned"), None, 0.005),
    ]
    found = []
    for ranking, others, least_mean, most_below in asked:
        gain, than = gains(ranking, *others), " and ".join(others)
        if least_mean is not None:
            sentence = f"{ranking} is at least {least_mean} above {than} on average ({gain.mean():+.4f})"
            found.append((sentence, bool(gain.mean() >= least_mean)))
        if most_below is not None:
            sentence = f"{ranking} is nowhere more than {most_below} below {than} ({gain.min():+.4f})"
            found.append((sentence, bool(gain.min() >= -most_below)))
    return found


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="nDCG@10 of every stage on judged collections.")
    parser.add_argument("--collections", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--corpus", type=Path, help="a corpus folder of your own with judged collections")
    parser.add_argument("--home", type=Path, help="keep the tables here; a second run computes only what changed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
