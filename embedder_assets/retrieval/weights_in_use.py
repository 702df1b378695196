"""Which weights the ranking of a collection uses, and where they are from: for a person, the metadata, the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder_assets.errors import unknown_collection
from embedder_assets.retrieval.cross_validation import weights_of
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.judgements import judgements_to_learn_from
from embedder_assets.retrieval.ranking_weights import LEARNING_STAGES, LearningStage, Weights, read_weights
from embedder_assets.retrieval.weight_fitting import FEWEST_QUERIES
from embedder_assets.serving.models.description import load_description
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore

_RERANK_WEIGHTS = ("cross_encoder", "agreement")


@dataclass(frozen=True)
class StageWeights:
    """The weights of one stage of a collection's ranking.

    Attributes:
        collection: Its name.
        stage: The stage that learns them.
        weights: By name; empty where the settings leave them without a use.
        source: A phrase that says where they are from, or why they have no use.
        judged_queries: How many queries they were learned from, or how many there are where nothing was learned.
        default_ndcg: nDCG@10 of the stage's ranking by the default weights; None where nothing was learned.
        learned_ndcg: The same by the learned weights, out of fold; equal where the default holds.
    """

    collection: str
    stage: LearningStage
    weights: Weights
    source: str
    judged_queries: int = 0
    default_ndcg: float | None = None
    learned_ndcg: float | None = None


def weights_of_collections(store: TableStore, settings: Settings, names: Sequence[str]) -> list[StageWeights]:
    """``weights_in_use`` of some collections, or of all that there are if no name is given.

    Raises:
        TableError: A named collection has no rows.
    """
    known = store.collections("documents")
    for name in names:
        if name not in known:
            raise unknown_collection(name, known)
    return [each for name in names or known for each in weights_in_use(store, settings, name)]


def weights_in_use(store: TableStore, settings: Settings, collection: str) -> list[StageWeights]:
    """The weights of each stage. It reads tables, judgements and the description of the rerank model, no server.

    Raises:
        ModelBuildError: The rerank model has no description.
    """
    return [stage_weights(store, settings, collection, stage) for stage in LEARNING_STAGES]


def stage_weights(store: TableStore, settings: Settings, collection: str, stage: LearningStage) -> StageWeights:
    """The weights of one stage; errors as ``weights_in_use``."""
    if reason := _not_used(settings, stage):
        return StageWeights(collection, stage, {}, f"not used: {reason}")
    default = _default(settings, stage)
    if learned := read_weights(store, collection, stage):
        weights = {name: learned.weights[name] for name in default}
        figures = (learned.queries, learned.default_ndcg, learned.ndcg)
        return StageWeights(collection, stage, weights, learned.described(), *figures)
    judged = len(judgements_to_learn_from(store, settings, collection))
    return StageWeights(collection, stage, default, f"default: {_not_learned(judged)}", judged)


def _not_used(settings: Settings, stage: LearningStage) -> str | None:
    """Why the settings leave the weights of a stage without a use, or None."""
    if stage == "rerank":
        return None if settings.enable_rerank else f"rerank is disabled via {settings.provenance('enable_rerank')}"
    if settings.fusion == "rrf":
        return f"fusion is rrf via {settings.provenance('fusion')}"
    return None if settings.enable_sparse else f"sparse is disabled via {settings.provenance('enable_sparse')}"


def _default(settings: Settings, stage: LearningStage) -> Weights:
    if stage == "fuse":
        return {"dense": DENSE_WEIGHT}
    formula = weights_of(load_description(settings.model_repository / settings.rerank_model).score)
    return {name: formula[name] for name in _RERANK_WEIGHTS}


def _not_learned(judged: int) -> str:
    if not judged:
        return "no judged queries"
    count = f"{judged} judged quer{'y' if judged == 1 else 'ies'}"
    return f"{count}, {FEWEST_QUERIES} are needed" if judged < FEWEST_QUERIES else f"the next run learns from {count}"
