"""Hybrid search over the tables: dense and sparse, fused, then reranked — what a user types, and the best chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import polars as pl

from embedder_assets.embedding.fallback import Fallback
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.errors import InferenceError, StorageError, TableError, unknown_collection
from embedder_assets.retrieval.collapse import collapsed, groups_in
from embedder_assets.retrieval.consistent_view import CollectionView, State, consistent_view
from embedder_assets.retrieval.cross_validation import formula_of, weights_of
from embedder_assets.retrieval.exact_index import ChunkIndex, row_by_id
from embedder_assets.retrieval.filter.chunk_filter import ChunkFilter
from embedder_assets.retrieval.filter.permissions import groups_of
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.fusion_score import DENSE_WEIGHT
from embedder_assets.retrieval.ranking_weights import mean_weights
from embedder_assets.retrieval.rerank import RerankStage, in_fused_order
from embedder_assets.retrieval.snippet import snippet
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.settings import Settings
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

# Where near-duplicates fill the candidates, so many times as many are looked at, and so often at most.
DEEPER, MOST_LOOKS = 8, 3


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
        near_duplicates: Documents that are nearly the same and whose passage is not shown, since this one says it.
        metadata: Of the document, where the search has a filter or ``Search.with_metadata`` has read it.
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
    near_duplicates: int
    metadata: Mapping[str, object] = field(default_factory=dict)


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
            [
                each.chunks.drop("content_sha256")
                .join(groups_in(store, each.name), on="doc_id", how="left", maintain_order="left")
                .with_columns(state=pl.lit(each.state))
                for each in found
            ]
        )
        self._has_groups = self._chunks["group"].null_count() < self._chunks.height
        self._position = row_by_id(self._chunks["chunk_id"])
        self._fuse = FuseStage(store, triton, settings, models)
        dense = [[block for each in found for block in each.dense[at]] for at in range(len(models.dense))]
        sparse = [block for each in found for block in each.sparse or []] if models.sparse_sources else None
        collections_read = [(each.name, each.tables, each.chunks.height) for each in found]
        del found
        self._index = ChunkIndex.in_memory(dense, sparse)
        self._filter = ChunkFilter(store, collections_read, self._chunks, self._position, self._index)
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

    def search(
        self,
        query: str,
        top: int,
        *,
        where: str | None = None,
        allow: Iterable[str] | None = None,
        collapse: bool = True,
    ) -> list[Hit]:
        """The best chunks for a query, best first, as if the collections held only what the filter keeps.

        Args:
            query: The question.
            top: How many hits at most.
            where: A condition on the documents' fields, see docs/how-to/filter-and-permissions.md.
            allow: The groups of a reader, who is shown what they may see; by default everything is searched.
            collapse: Whether passages of near-equal documents that say the same are shown once, the best of them.

        Raises:
            FilterError: The condition cannot be read, or does not fit the fields.
            InferenceError: All models fail on this query.
            TableError: The documents cannot be read, and there is a filter.
        """
        index, groups = self._index, groups_of(allow)
        is_filtered = where is not None or groups is not None
        if is_filtered:
            index = self._filter.index(where, groups)
            if index.empty:
                return []
        hits = self._candidates(index, query, top, collapse=collapse and self._has_groups)
        if self._rerank is not None:
            depth = self._settings.rerank_depth
            # As in the tables: what the model was not asked about keeps its place behind the others.
            hits = pl.concat([self._reranked(self._rerank, hits.head(depth)), hits.slice(depth)], how="diagonal")
        found = [_hit(row, query) for row in hits.head(top).iter_rows(named=True)]
        return self.with_metadata(found) if is_filtered else found

    def with_metadata(self, hits: Sequence[Hit]) -> list[Hit]:
        """Hits of this search with the metadata of their documents.

        Raises:
            TableError: The documents cannot be read.
        """
        metadata = self._filter.metadata([hit.chunk_id for hit in hits])
        return [replace(hit, metadata=each) for hit, each in zip(hits, metadata, strict=True)]

    def _candidates(self, index: ChunkIndex, query: str, top: int, *, collapse: bool) -> pl.DataFrame:
        """The best chunks by the fused rankings, as rows that ``_hit`` takes; near-duplicates do not fill them."""
        depth = self._settings.candidate_depth
        hits = self._ranked(index, query, depth, top, collapse=collapse)
        for _ in range(MOST_LOOKS - 1):
            if not hits["near_duplicates"].sum() or hits.height >= top or depth >= self._chunks.height:
                break
            depth *= DEEPER
            hits = self._ranked(index, query, depth, top, collapse=collapse)
        return hits

    def _ranked(self, index: ChunkIndex, query: str, depth: int, top: int, *, collapse: bool) -> pl.DataFrame:
        fuse = self._fuse.at_depth(depth)
        lexical = self._fallback("sparse" in self._settings.fallback, "a lexical query stands in for the sparse model")
        encoder = fuse.encoder(StageMeter("fuse", []))
        queries = pl.DataFrame({"query_id": [""], "text": [query]})
        with ThreadPoolExecutor(1) as executor:
            candidates = fuse.candidates(index, queries, encoder, lexical, executor)
        fused = fuse.fuse(candidates, self._dense_weight)
        if encoder.failed and not fused.height:
            raise InferenceError(
                "the query",
                expected="an answer of one model at least",
                got=encoder.failed[0][2],
                remedy="Other texts are answered: ask in other words.",
            )
        wanted = max(top, self._settings.rerank_depth)
        best = fused if collapse else fused.head(wanted)
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
                near_duplicates=pl.lit(0),
            )
        )
        # Before the reranker, so that copies do not fill what it is asked about.
        return collapsed(hits, query).head(wanted) if collapse else hits

    def _reranked(self, stage: RerankStage, pairs: pl.DataFrame) -> pl.DataFrame:
        vectors = self._index.vectors(0, pairs["chunk_id"])
        fallback = self._fallback("rerank" in self._settings.fallback, "the fused order stands")
        return fallback.run_or_fall_back(
            lambda: stage.rerank(pairs, vectors, self._formula, StageMeter("rerank", [])), lambda: in_fused_order(pairs)
        )

    def _fallback(self, allowed: bool, what: str) -> Fallback:
        return Fallback(allowed, lambda reason, message: self._warn(f"{what} ({reason}): {message}"))


def _hit(row: dict[str, object], query: str) -> Hit:
    values = {name: row[name] for name in Hit.__dataclass_fields__ if name not in ("snippet", "metadata")}
    return Hit(**values, snippet=snippet(str(row["text"]), query))  # type: ignore[arg-type]
