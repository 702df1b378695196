"""The gate before a model swap: vectors that retrieve worse than the accepted baseline do not replace the old ones.

The checks of ``evaluation`` compare the final ranking with the baseline, but by then the tables are the new ones. This
compares a new embedding model's own ranking with it before the commit; old rows stay, and the new ones stay staged.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.stage import Encoder
from embedder_assets.errors import QualityError
from embedder_assets.evaluation.evaluate import evaluate_rankings
from embedder_assets.evaluation.quality_gate import unmeasured_remedy
from embedder_assets.evaluation.results import NDCG, latest_result
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.fusion import documents_of, with_query_and_doc_ids
from embedder_assets.retrieval.judgements import judgements
from embedder_assets.retrieval.query_embeddings import QueryEncoder
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

ROUNDING = 1e-9


class ModelGate:
    """Asked by ``EmbeddingStage`` before rows of another model are replaced."""

    def __init__(self, store: TableStore, triton: TritonSession, settings: Settings, meter: StageMeter) -> None:
        self._store = store
        self._triton = triton
        self._settings = settings
        self._meter = meter

    def __call__(self, encoder: Encoder, collection: str, rows: Iterable[pl.DataFrame]) -> None:
        """Lets the rows pass, or raises.

        Without an accepted baseline there is nothing to compare them with.

        Args:
            encoder: The new model.
            collection: Name of the collection.
            rows: All new rows of it, in frames; walked once.

        Raises:
            QualityError: Their ranking is worse than the baseline's by more than the tolerance, or cannot be measured.
        """
        kind = "dense" if isinstance(encoder, DenseEncoder) else "sparse"
        baseline = latest_result(self._store, "quality_baselines", collection)
        # The figure of several dense models is theirs together; one of them cannot be compared with it.
        several = kind == "dense" and len(self._settings.dense_models) > 1
        if baseline is None or kind not in baseline.rankings or several:
            return
        qrels = judgements(self._store, self._settings, collection)
        if not qrels:
            raise QualityError(
                f"model '{encoder.model}' with fingerprint {encoder.fingerprint}",
                expected=f"judged queries to compare it with the baseline accepted on {baseline.at:%Y-%m-%d}",
                got="none",
                remedy=f"The table is as it was, and the new vectors stay staged. {unmeasured_remedy(collection)}",
            )
        ranking = self._ranking(encoder, collection, rows, list(qrels))
        measured = evaluate_rankings({kind: ranking}, qrels).filter(measure=NDCG)["value"].mean()
        required, tolerance = baseline.ndcg(kind), self._settings.quality_tolerance
        measured_ndcg = float(measured)  # type: ignore[arg-type]
        if required - measured_ndcg <= tolerance + ROUNDING:
            return
        raise QualityError(
            f"model '{encoder.model}' with fingerprint {encoder.fingerprint}",
            expected=f"{kind} {NDCG} of at least {required:.4f} less EMBEDDER_QUALITY_TOLERANCE ({tolerance:g}), the "
            f"baseline accepted on {baseline.at:%Y-%m-%d} with {baseline.model_list}",
            got=f"{measured_ndcg:.4f} over {len(qrels)} judged queries",
            remedy="The table is as it was, and the new vectors stay staged. Compare the models "
            "(`embedder models compare`), or go back to the earlier one. To take the new one on purpose, run once with "
            "EMBEDDER_QUALITY_TOLERANCE=1, then `embedder baseline accept`.",
        )

    def _ranking(
        self, encoder: Encoder, collection: str, rows: Iterable[pl.DataFrame], judged: list[str]
    ) -> pl.DataFrame:
        """Columns query_id, doc_id, rank by these vectors alone."""
        queries = self._store.read("queries", collection).filter(pl.col("query_id").is_in(judged))
        model = ModelVersion(encoder.model, encoder.fingerprint)
        query_encoder = QueryEncoder(self._triton, self._settings.request_batch_size, self._meter)
        depth = self._settings.candidate_depth
        if isinstance(encoder, DenseEncoder):
            ranking = ChunkIndex.of_rows([rows]).rank_dense(0, query_encoder.dense(model, queries), depth)
        else:
            ranking = ChunkIndex.of_rows([], rows).rank_sparse(query_encoder.sparse(model, queries), depth)
        return with_query_and_doc_ids(ranking, documents_of(self._store, collection, ranking), queries)
