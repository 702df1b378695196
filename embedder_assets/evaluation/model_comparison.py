"""Two models of one stage compared on a collection's judged queries, before one replaces the other.

Nothing is published: vectors of a model that the tables do not hold are computed into the staging folder, where a later
switch to that model finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.errors import ModelBuildError, TableError
from embedder_assets.evaluation.evaluate import candidate_rankings, evaluate_rankings
from embedder_assets.retrieval.cross_validation import (
    learn_rerank_weights,
    out_of_fold_fused,
    out_of_fold_reranked,
)
from embedder_assets.retrieval.exact_index import ChunkIndex, Reiterable
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels, documents_of, with_query_and_doc_ids
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.judgements import Qrels, judgements
from embedder_assets.retrieval.rerank import RerankStage
from embedder_assets.retrieval.rerank_score import combine
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.description import Stage
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

SETTING_OF_STAGE = {"dense": "dense_models", "sparse": "sparse_model", "rerank": "rerank_model"}
PERMUTATIONS = 9999


@dataclass(frozen=True)
class Difference:
    """One measure of one ranking under two models.

    Attributes:
        current: Mean over the judged queries with the first model, 0 to 1.
        candidate: The same with the second model.
        p_value: Two-sided, of a paired permutation test on the queries: how often chance alone gives such a
            difference (Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information
            Retrieval Evaluation", CIKM 2007).
        better: Queries on which the second model is better.
        worse: Queries on which it is worse.
    """

    ranking: str
    measure: str
    current: float
    candidate: float
    p_value: float
    better: int
    worse: int


@dataclass(frozen=True)
class Comparison:
    """What ``embedder models compare`` found.

    Attributes:
        models: Names of the two models, the current one first.
        fingerprints: Theirs.
        setting: Name of the setting that chooses a model of this stage.
        queries: Judged queries.
        differences: By ranking and measure, in the order of the pipeline.
    """

    collection: str
    models: tuple[str, str]
    fingerprints: tuple[str, str]
    setting: str
    queries: int
    differences: list[Difference]


class ModelComparison:
    """Evaluates a collection's rankings with one model exchanged."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, meter: StageMeter) -> None:
        self._store = store
        self._triton = triton
        self._settings = settings
        self._meter = meter

    def compare(self, current: str, candidate: str, collection: str) -> Comparison:
        """Both models on the judged queries of a collection, all else as the settings say.

        Raises:
            ModelBuildError: The models are of different stages, or of one that is off.
            TableError: The collection has no judged queries, or no chunks.
        """
        stage = self._common_stage(current, candidate)
        qrels = judgements(self._store, self._settings, collection)
        if not qrels:
            raise TableError(
                f"collection '{collection}'",
                expected="judged queries in the tables: queries.jsonl and qrels.tsv, and a run",
                got="none",
                remedy="Name a collection with judgements that `embedder run` has seen; docs/evaluation.md says more.",
            )
        figures = [self._evaluate(stage, name, collection, qrels) for name in (current, candidate)]
        return Comparison(
            collection=collection,
            models=(current, candidate),
            fingerprints=(self._triton.fingerprint(current, stage), self._triton.fingerprint(candidate, stage)),
            setting=SETTING_OF_STAGE[stage],
            queries=len(qrels),
            differences=differences(*figures),
        )

    def _common_stage(self, current: str, candidate: str) -> Stage:
        stages = [self._triton.stage(name) for name in (current, candidate)]
        if stages[0] != stages[1]:
            raise ModelBuildError(
                f"models '{current}' and '{candidate}'",
                expected="two models of one stage",
                got=f"'{stages[0]}' and '{stages[1]}'",
                remedy="`embedder models list` shows the stage of each model.",
            )
        if stages[0] != "dense" and not getattr(self._settings, f"enable_{stages[0]}"):
            raise ModelBuildError(
                f"stage '{stages[0]}'",
                expected="a stage that is on",
                got=f"off, {self._settings.provenance(f'enable_{stages[0]}')}",
                remedy=f"Set EMBEDDER_ENABLE_{stages[0].upper()}=true to compare its models.",
            )
        return stages[0]

    def _evaluate(self, stage: Stage, model: str, collection: str, qrels: Qrels) -> pl.DataFrame:
        choice = (model,) if stage == "dense" else model
        settings = self._settings.model_copy(update={SETTING_OF_STAGE[stage]: choice})
        models = RetrievalModels.of(settings, self._triton)
        index = self._index(collection, models)
        queries = self._store.read("queries", collection).filter(pl.col("query_id").is_in(list(qrels)))
        fuse = FuseStage(self._store, self._triton, settings, models)
        candidates = fuse.candidates(index, queries, fuse.encoder(self._meter))
        candidates = with_query_and_doc_ids(candidates, documents_of(self._store, collection, candidates), queries)
        # Each model with the weights that suit it, out of fold.
        learned = fuse.learn(candidates, qrels)
        fused = out_of_fold_fused(fuse.fuse(candidates, DENSE_WEIGHT), learned, settings.candidate_depth)
        reranked = None
        if settings.enable_rerank:
            reranked = self._rerank(settings, collection, fused, index, qrels)
        rankings = candidate_rankings(fused, reranked, sparse=settings.enable_sparse)
        return evaluate_rankings(rankings, qrels)

    def _index(self, collection: str, models: RetrievalModels) -> ChunkIndex:
        dense = [self._candidate_rows(DenseEncoder(*model), collection) for model in models.dense]
        sparse = self._candidate_rows(SparseEncoder(*models.sparse), collection) if models.sparse else None
        return ChunkIndex.of_rows(dense, sparse)

    def _candidate_rows(self, encoder: DenseEncoder | SparseEncoder, collection: str) -> Reiterable[pl.DataFrame]:
        stage = EmbeddingStage(self._store, self._triton, self._settings, [encoder])
        # What is computed in the first walk is staged for the others.
        return Reiterable(lambda: stage.candidate_rows(collection, self._meter))

    def _rerank(
        self, settings: Settings, collection: str, fused: pl.DataFrame, index: ChunkIndex, qrels: Qrels
    ) -> pl.DataFrame:
        def vectors_of(rows: pl.DataFrame) -> NDArray[np.float32]:
            return index.vectors(0, rows["chunk_id"])

        model = ModelVersion(settings.rerank_model, self._triton.fingerprint(settings.rerank_model, "rerank"))
        stage = RerankStage(self._store, self._triton, settings, model)
        best = fused.filter(pl.col("rank") <= settings.rerank_depth)
        scored = stage.score(stage.pairs(collection, best), self._meter)
        learned = learn_rerank_weights(scored, vectors_of, qrels, stage.formula)
        if learned is None:
            return combine(scored, vectors_of(scored), stage.formula)
        return out_of_fold_reranked(scored, vectors_of, learned)


def differences(current: pl.DataFrame, candidate: pl.DataFrame) -> list[Difference]:
    """The measures of two evaluations of the same queries, side by side.

    Args:
        current: Columns query_id, ranking, measure, value, as ``evaluate_rankings`` returns them.
        candidate: The same with another model.
    """
    keys = ["query_id", "ranking", "measure"]
    both = current.join(candidate, on=keys, suffix="_candidate", maintain_order="left")
    found = []
    for (ranking, measure), rows in both.group_by("ranking", "measure", maintain_order=True):
        before, after = rows["value"].to_numpy(), rows["value_candidate"].to_numpy()
        found.append(
            Difference(
                ranking=str(ranking),
                measure=str(measure),
                current=float(before.mean()),
                candidate=float(after.mean()),
                p_value=paired_p_value(before, after),
                better=int((after > before).sum()),
                worse=int((after < before).sum()),
            )
        )
    return found


def paired_p_value(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Two-sided p-value of a paired permutation test on the mean difference; 1 where nothing differs."""
    from scipy.stats import permutation_test

    if len(before) < 2 or np.allclose(before, after):
        return 1.0
    outcome = permutation_test(
        (after, before),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    return float(outcome.pvalue)
