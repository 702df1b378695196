"""Hybrid search over the tables: dense and sparse, fused, then reranked — what a user types, and the best chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from embedder_assets.embedding.fallback import Fallback
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.errors import InferenceError, StorageError, TableError, unknown_collection
from embedder_assets.retrieval.consistent_view import CollectionView, State, consistent_view
from embedder_assets.retrieval.cross_validation import formula_of, weights_of
from embedder_assets.retrieval.exact_index import ChunkIndex, row_by_id
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.ranking_weights import mean_weights
from embedder_assets.retrieval.rerank import RerankStage, in_fused_order
from embedder_assets.retrieval.snippet import snippet
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter


@dataclass(frozen=True)
class Hit:
    """One chunk that answers a query.

    Attributes:
        rank: From 1.
        score: Of the last stage that ran: rerank, else fusion; fusion too where the rerank model failed.
        start: Character offset of the chunk in the document's extracted text.
        page: On which the chunk begins, from 1; None in a format without pages.
        last_page: On which it ends.
        text: The whole chunk.
        snippet: The passage of the chunk that says most about the query.
        state: ``newest``; ``earlier`` or ``partial`` where no run has updated the collection yet.
    """

    rank: int
    score: float
    collection: str
    doc_id: str
    chunk_id: str
    heading: str
    start: int
    end: int
    page: int | None
    last_page: int | None
    text: str
    snippet: str
    dense_rank: int | None
    sparse_rank: int | None
    fused_rank: int
    cross_encoder_score: float | None
    state: State


class Search:
    """Search over some collections. The index is read once and serves any number of queries.

    Args:
        store: The tables.
        triton: The models.
        settings: The resolved settings.
        collections: Names of collections; all that there are if it is empty.
        warn: Given a sentence when something stood in for a model that failed, and for each collection that is not
            searched, or not in its newest state.

    Raises:
        TableError: A named collection is not there, or none of them can be searched.
    """

    def __init__(
        self,
        store: TableStore,
        triton: TritonSession,
        settings: Settings,
        collections: Sequence[str],
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._warn = warn
        models = RetrievalModels.of(settings, triton)
        available = store.collections("chunks")
        if not available:
            raise TableError(
                "the table 'chunks'",
                expected="chunks to search",
                got="none",
                remedy="Run `embedder run` first, or set EMBEDDER_HOME to the folder that has the tables.",
            )
        for name in collections:
            if name not in available:
                raise unknown_collection(name, available, "no rows in the table 'chunks'")
        found = self._views(store, models, list(dict.fromkeys(collections)) or available)
        self._chunks = pl.concat(
            [each.chunks.drop("content_sha256").with_columns(state=pl.lit(each.state)) for each in found]
        )
        self._position = row_by_id(self._chunks["chunk_id"])
        self._fuse = FuseStage(store, triton, settings, models)
        dense = [[block for each in found for block in each.dense[at]] for at in range(len(models.dense))]
        sparse = [block for each in found for block in each.sparse or []] if models.sparse_sources else None
        del found
        self._index = ChunkIndex.in_memory(dense, sparse)
        self._rerank = None
        names = self._chunks["collection"].unique().to_list()
        self._dense_weight = mean_weights(store, names, "fuse", {"dense": DENSE_WEIGHT})["dense"]
        if settings.enable_rerank:
            name = settings.rerank_model
            model = ModelVersion(name, triton.fingerprint(name, "rerank"))
            self._rerank = RerankStage(store, triton, settings, model)
            weights = mean_weights(store, names, "rerank", weights_of(self._rerank.formula))
            self._formula = formula_of(weights)

    def _views(self, store: TableStore, models: RetrievalModels, names: Sequence[str]) -> list[CollectionView]:
        """What can be searched of some collections; says which cannot, or only in another state than the newest.

        Raises:
            TableError: None of them can be searched.
        """
        found, problems = [], {}
        for name in names:
            try:
                found.append(consistent_view(store, self._settings, models, name))
            except StorageError:
                raise
            except TableError as error:
                problems[name] = error
        if not found:
            raise next(iter(problems.values()))
        for name, problem in problems.items():
            self._warn(f"collection '{name}' is not searched: {problem}")
        for note in filter(None, (each.note for each in found)):
            self._warn(note)
        return found

    def search(self, query: str, top: int) -> list[Hit]:
        """The best chunks for a query, best first.

        Raises:
            InferenceError: All models fail on this query.
        """
        lexical = self._fallback("sparse" in self._settings.fallback, "a lexical query stands in for the sparse model")
        encoder = self._fuse.encoder(StageMeter("fuse", []))
        queries = pl.DataFrame({"query_id": [""], "text": [query]})
        with ThreadPoolExecutor(1) as executor:
            candidates = self._fuse.candidates(self._index, queries, encoder, lexical, executor)
        fused = self._fuse.fuse(candidates, self._dense_weight)
        if encoder.failed and not fused.height:
            raise InferenceError(
                "the query",
                expected="an answer of one model at least",
                got=encoder.failed[0][2],
                remedy="Other texts are answered: ask in other words.",
            )
        best = fused.head(max(top, self._settings.rerank_depth))
        rows = self._chunks[[self._position[chunk] for chunk in best["chunk_id"]]]
        hits = (
            best.drop("chunk_id")
            .hstack(rows.get_columns())
            .with_columns(
                query_id="query",
                query_text=pl.lit(query),
                fused_rank="rank",
                fused_score="score",
                cross_encoder_score=pl.lit(None, pl.Float64),
            )
        )
        if self._rerank is not None:
            depth = self._settings.rerank_depth
            # As in the tables: what the model was not asked about keeps its place behind the others.
            hits = pl.concat([self._reranked(self._rerank, hits.head(depth)), hits.slice(depth)], how="diagonal")
        return [_hit(row, query) for row in hits.head(top).iter_rows(named=True)]

    def _reranked(self, stage: RerankStage, pairs: pl.DataFrame) -> pl.DataFrame:
        vectors = self._index.vectors(0, pairs["chunk_id"])
        fallback = self._fallback("rerank" in self._settings.fallback, "the fused order stands")
        return fallback.run_or_fall_back(
            lambda: stage.rerank(pairs, vectors, self._formula, StageMeter("rerank", [])), lambda: in_fused_order(pairs)
        )

    def _fallback(self, allowed: bool, what: str) -> Fallback:
        return Fallback(allowed, lambda reason, message: self._warn(f"{what} ({reason}): {message}"))


def _hit(row: dict[str, object], query: str) -> Hit:
    values = {name: row[name] for name in Hit.__dataclass_fields__ if name != "snippet"}
    return Hit(**values, snippet=snippet(str(row["text"]), query))  # type: ignore[arg-type]
