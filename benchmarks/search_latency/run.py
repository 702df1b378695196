"""How long does a warm search take, apart from the models?

One collection of synthetic chunks: unit vectors of a few dozen free dimensions and some noise, sparse vectors whose
terms are as unevenly common as words are. The queries go through ``Search`` as in ``embedder search``, with the real
models in a real Triton, each once exactly and once by the approximate index, and both with a filter that keeps 1 % or
half of the chunks; the time in which an answer of Triton is awaited is taken off.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.common.acceptance import outcome
from embedder_assets.embedding.dense import as_matrix
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.fusion import RetrievalModels
from embedder_assets.retrieval.hnsw_index import HnswIndexStage
from embedder_assets.retrieval.search import Search
from embedder_assets.serving.client.grpc import UNOBSERVED, Answer, RequestObserver, Row
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.description import Role
from embedder_assets.settings import Settings, load_settings
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore

COLLECTION = "synthetic"
DIMENSION = 384
VOCABULARY = 30_522
TERMS_PER_CHUNK = 120
WORDS_PER_CHUNK = 120
# Vectors that were free in all dimensions would have no neighbours to speak of; those of texts have.
FREE_DIMENSIONS = 48
NOISE = 0.5
PART = 20_000
BOUND_MS = 25
# Queries on which the approximate index is compared with exact search.
JUDGED = 500


class TimedSession(TritonSession):
    """A session that knows how long its answers were awaited."""

    waited_s = 0.0

    def infer_many(
        self,
        model: str,
        requests: Iterable[Sequence[Row]],
        *,
        role: Role = "passage",
        observer: RequestObserver = UNOBSERVED,
    ) -> Iterator[Answer]:
        """The answers of the session."""
        answers = super().infer_many(model, requests, role=role, observer=observer)
        while True:
            started = time.perf_counter()
            answer = next(answers, None)
            self.waited_s += time.perf_counter() - started
            if answer is None:
                return
            yield answer


def main() -> None:
    """Prints the percentiles and whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        settings = load_settings({"home": (Path(scratch), "benchmark")}, environ={})
        session = TimedSession(settings)
        try:
            store = TableStore(settings.home)
            models = RetrievalModels.of(settings, session)
            fill(store, models, arguments.chunks)
            graph = built(store, settings, models)
            times = measured(store, session, settings, arguments.queries)
        finally:
            session.close()
    print(f"{arguments.chunks} chunks, {arguments.queries} queries, one after the other, ways alternating")
    print(f"approximate index: {graph}")
    for (way, kept), (ours_ms, models_ms) in times.items():
        p50, p99 = np.percentile(ours_ms, [50, 99])
        awaited = np.percentile(models_ms, 50)
        print(
            f"{way}, {kept}: apart from the models p50 {p50:.1f} ms  p99 {p99:.1f} ms; the models p50 {awaited:.1f} ms"
        )
    exact, approximate = (np.array(times[way, "all chunks"][0]) for way in WAYS)
    p50, p99 = np.percentile(exact, [50, 99])
    print(f"exact, p50 at most {BOUND_MS} ms: {outcome(p50 <= BOUND_MS)}")
    print(f"exact, p99 at most twice p50: {outcome(p99 <= 2 * p50)}")
    print(f"exact against approximate, median over the queries: {np.median(exact / approximate):.2f}")


def fill(store: TableStore, models: RetrievalModels, chunks: int) -> None:
    """Writes the tables that a search reads."""
    chance = np.random.default_rng(0)
    words = [f"w{number:x}" for number in range(20_000)]
    # As common as words are: the n-th has 1/n of the first one's share.
    shares = 1 / np.arange(1, VOCABULARY + 1)
    terms = chance.permutation(VOCABULARY)
    free = chance.standard_normal((FREE_DIMENSIONS, DIMENSION), np.float32)
    for start in range(0, chunks, PART):
        count = min(PART, chunks - start)
        ids = [f"c{start + number:08d}" for number in range(count)]
        texts = [" ".join(random.Random(start + number).choices(words, k=WORDS_PER_CHUNK)) for number in range(count)]
        key = {"chunk_id": ids, "content_sha256": [hashlib.sha256(text.encode()).hexdigest() for text in texts]}
        digests = {"document_sha256": key["content_sha256"]}
        _append(store, "chunks", count, doc_id=ids, text=texts, **key, **digests)
        metadata = [f'{{"part": {number % 100}, "product": "pump"}}' for number in range(count)]
        _append(store, "documents", count, doc_id=ids, content_sha256=key["content_sha256"], metadata=metadata)
        vectors = drawn_vectors(chance, free, count)
        for model in models.dense:
            _append(store, "dense_embeddings", count, **key, **_labels(model, count), embedding=list(vectors))
        if models.sparse:
            drawn = chance.choice(VOCABULARY, (count, TERMS_PER_CHUNK), p=shares / shares.sum())
            entries = [np.unique(row).astype(np.int32) for row in terms[drawn]]
            weights = [chance.random(len(row), np.float32) for row in entries]
            labels = _labels(models.sparse, count)
            _append(store, "sparse_embeddings", count, **key, **labels, indices=entries, values=weights)


def drawn_vectors(chance: np.random.Generator, free: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Unit vectors, float32 [count, dimension]."""
    vectors = chance.standard_normal((count, len(free)), np.float32) @ free
    vectors += NOISE * np.sqrt(len(free)).astype(np.float32) * chance.standard_normal(vectors.shape, np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def built(store: TableStore, settings: Settings, models: RetrievalModels) -> str:
    """Builds the approximate index, and says in words what came out."""
    asked = store.read("dense_embeddings", COLLECTION, limit=JUDGED)["embedding"]
    chance = np.random.default_rng(2)
    # Near the chunks, as questions are, and equal to none.
    queries = as_matrix(asked) + chance.standard_normal((JUDGED, DIMENSION), np.float32) / DIMENSION**0.5
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    names = [f"q{number:04d}" for number in range(JUDGED)]
    index = ChunkIndex.of_tables(store, [COLLECTION], models.dense, [])
    for position, model in enumerate(models.dense):
        labels = _labels(model, JUDGED)
        _append(store, "query_embeddings", JUDGED, query_id=names, **labels, embedding=list(queries))
        exact = index.rank_dense(position, queries, 10)
        ranks = [[None] * position + [rank] for rank in exact["rank"]]
        ids = [names[query] for query in exact["query"]]
        _append(
            store, "fused_candidates", exact.height, query_id=ids, chunk_id=list(exact["chunk_id"]), dense_ranks=ranks
        )
    started = time.perf_counter()
    done = HnswIndexStage(store, WAYS["approximate"](settings)).run(COLLECTION, list(models.dense))
    rate = sum(each.rows for each in done.values()) / (time.perf_counter() - started)
    found = ", ".join(f"{each.recall.at_10:.3f} of the ten nearest at {each.expansion}" for each in done.values())
    return f"{rate:.0f} vectors/s built; {found}"


def _labels(model: ModelVersion, rows: int) -> dict[str, list[str]]:
    return {"model": [model.name] * rows, "model_fingerprint": [model.fingerprint] * rows}


def _append(store: TableStore, table: str, rows: int, **columns: Any) -> None:
    schema = SCHEMAS[table]
    empty = {pl.String(): "", pl.Int64(): 1}
    given = {"collection": [COLLECTION] * rows, **columns}
    frame = {name: given.get(name, [empty.get(kind)] * rows) for name, kind in schema.items()}
    store.append(table, pl.DataFrame(frame, schema=schema))


def measured(
    store: TableStore, session: TimedSession, settings: Settings, queries: int
) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Milliseconds of each search by each way and filter: without the models, and of the models alone."""
    searches = {way: Search(store, session, chosen(settings), [COLLECTION]) for way, chosen in WAYS.items()}
    chance = random.Random(1)
    texts = [f"how does {chance.choice(COMMON)} {chance.choice(COMMON)} in case {number}" for number in range(queries)]
    times: dict[tuple[str, str], tuple[list[float], list[float]]] = {
        (way, kept): ([], []) for way in WAYS for kept in FILTERS
    }
    for counted, text in [(False, text) for text in texts[:5]] + [(True, text) for text in texts]:
        for way, kept in times:
            session.waited_s, started = 0.0, time.perf_counter()
            hits = searches[way].search(text, 10, where=FILTERS[kept])
            total = time.perf_counter() - started
            assert hits
            if counted:
                times[way, kept][0].append(1e3 * (total - session.waited_s))
                times[way, kept][1].append(1e3 * session.waited_s)
    return times


COMMON = (
    *("a server", "memory", "the scheduler", "a batch", "the cache", "an index", "replication", "failover", "a queue"),
    *(
        "the log",
        "a snapshot",
        "compaction",
        "a token",
        "the gateway",
        "a certificate",
        "routing",
        "sharding",
        "a lock",
    ),
)

WAYS: dict[str, Callable[[Settings], Settings]] = {
    "exact": lambda settings: settings.model_copy(update={"approximate_above": 0}),
    "approximate": lambda settings: settings.model_copy(update={"approximate_above": 1}),
}

FILTERS = {"all chunks": None, "1 % of them": "part = 7", "half of them": "product = 'pump' and part < 50"}

if __name__ == "__main__":
    main()
