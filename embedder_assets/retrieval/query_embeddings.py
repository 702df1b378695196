"""Vectors of queries, each distinct text computed once per model, however often the chunks change."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embedder_assets.embedding.dense import DenseEncoder, as_matrix
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.retrieval.exact_index import sparse_matrix
from embedder_assets.serving.client.grpc import Answer
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from embedder_assets.telemetry.stage_record import StageMeter

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TABLE = "query_embeddings"
LARGEST_VOCABULARY = 2**20
_VALUES = ["embedding", "indices", "values"]


def with_digest(queries: pl.DataFrame) -> pl.DataFrame:
    """Queries with the column ``content_sha256`` of their ``text``."""
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in queries["text"]]
    return queries.with_columns(content_sha256=pl.Series(digests, dtype=pl.String))


def is_complete(store: TableStore, collection: str, queries: pl.DataFrame, models: list[ModelVersion]) -> bool:
    """Whether ``query_embeddings`` holds the queries of a collection by all models, and no others: not after a restore.

    Args:
        store: The tables.
        collection: The collection.
        queries: Columns query_id, content_sha256.
        models: Names and fingerprints.
    """
    keys = ["query_id", "content_sha256", "model", "model_fingerprint"]
    names = pl.DataFrame(models, schema=dict.fromkeys(keys[2:], pl.String), orient="row")
    expected = queries.select(keys[:2]).join(names, how="cross")
    return store.read(TABLE, collection, keys).sort(keys).equals(expected.sort(keys))


class QueryEmbeddingCache:
    """The known vectors of a collection's queries: those in ``query_embeddings``, and new ones until ``commit``."""

    def __init__(self, store: TableStore, collection: str) -> None:
        self._store = store
        self._collection = collection
        self._rows = store.read(TABLE, collection)

    def get(self, model: ModelVersion) -> pl.DataFrame:
        """What a model has made of texts: columns content_sha256, embedding, indices, values."""
        # By fingerprint alone: a model under a new name has the values already.
        rows = self._rows.filter(pl.col("model_fingerprint") == model.fingerprint)
        return rows.select("content_sha256", *_VALUES).unique("content_sha256", keep="any")

    def put(self, queries: pl.DataFrame, model: ModelVersion, values: pl.DataFrame) -> None:
        """Makes some vectors the only ones of a model; those of other models stay.

        Args:
            queries: Columns query_id, content_sha256.
            model: Name and fingerprint.
            values: What it made of their texts: columns as of ``get``.
        """
        own = queries.select("query_id", "content_sha256").join(values, on="content_sha256")
        own = own.with_columns(
            collection=pl.lit(self._collection), model=pl.lit(model.name), model_fingerprint=pl.lit(model.fingerprint)
        )
        others = self._rows.filter(pl.col("model") != model.name)
        self._rows = pl.concat([others, own.select(list(SCHEMAS[TABLE]))])

    def evict_others(self, queries: pl.DataFrame, models: list[ModelVersion]) -> None:
        """Removes the vectors of queries and models that are gone."""
        names = [model.name for model in models]
        kept = self._rows.filter(pl.col("model").is_in(names))
        self._rows = kept.join(queries, on=["query_id", "content_sha256"], how="semi")

    def commit(self) -> None:
        """Makes these vectors the only ones of the collection in the table."""
        self._store.replace(TABLE, self._collection, self._rows)


class QueryEncoder:
    """Asks the models for the vectors of queries that nobody knows yet.

    Attributes:
        failed: The queries on which a model failed, each sent alone: query id, model and what the server said.
    """

    def __init__(
        self, triton: TritonSession, batch_size: int, meter: StageMeter, cache: QueryEmbeddingCache | None = None
    ) -> None:
        self._triton = triton
        self._batch_size = batch_size
        self._meter = meter
        self._cache = cache
        self.failed: list[tuple[str, str, str]] = []

    def dense(self, model: ModelVersion, queries: pl.DataFrame) -> NDArray[np.float32]:
        """Unit vectors, float32 [queries, dimension]; NaN for a query on which the model fails.

        Args:
            model: Name and fingerprint.
            queries: Columns query_id, text.

        Raises:
            InferenceError: The model fails for any text.
        """
        return as_matrix(self._values(DenseEncoder(*model), queries)["embedding"])

    def sparse(self, model: ModelVersion, queries: pl.DataFrame) -> csr_array:
        """The same of the sparse model, [queries, vocabulary]; no entry for a query on which it fails."""
        return sparse_matrix(self._values(SparseEncoder(*model), queries), LARGEST_VOCABULARY)

    def _values(self, encoder: DenseEncoder | SparseEncoder, queries: pl.DataFrame) -> pl.DataFrame:
        """A row per query, in their order: columns embedding, indices, values."""
        model = ModelVersion(encoder.model, encoder.fingerprint)
        queries = with_digest(queries)
        known = self._cache.get(model) if self._cache else _nothing()
        present, first = set(known["content_sha256"]), dict[str, int]()
        for row, digest in enumerate(queries["content_sha256"]):
            if digest not in present:
                first.setdefault(digest, row)
        unknown = queries[list(first.values())]
        if unknown.height:
            known = pl.concat([known, *self._computed(encoder, unknown, queries)])
        if self._cache:
            # Also where nothing was unknown: a query that is new may have the text of another one.
            self._cache.put(queries, model, known)
        return queries.join(known, on="content_sha256", how="left", maintain_order="left")

    def _computed(
        self, encoder: DenseEncoder | SparseEncoder, unknown: pl.DataFrame, queries: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        frames = list(unknown.iter_slices(self._batch_size))
        requests = ([(text,) for text in frame["text"]] for frame in frames)
        answers = self._triton.infer_many(encoder.model, requests, role="query", observer=self._meter)
        for frame, answer in zip(frames, answers, strict=True):
            self._note_failures(encoder.model, frame, answer, queries)
            values = encoder.values(answer.outputs).with_columns(frame["content_sha256"].gather(answer.answered))
            yield pl.concat([_nothing(), values.select(pl.exclude("source"))], how="diagonal")

    def _note_failures(self, model: str, frame: pl.DataFrame, answer: Answer, queries: pl.DataFrame) -> None:
        of_kind: dict[str, list[str]] = defaultdict(list)
        for each in answer.failures:
            digest = frame["content_sha256"][each.position]
            ids = queries.filter(pl.col("content_sha256") == digest)["query_id"].to_list()
            of_kind[each.error.kind] += ids
            self.failed += [(query, model, each.error.got) for query in ids]
        for kind, ids in of_kind.items():
            self._meter.items_failed(model, ids, kind)


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={name: SCHEMAS[TABLE][name] for name in ("content_sha256", *_VALUES)})
