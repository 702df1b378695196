"""The approximate index: it follows the table, is measured against exact search, and is not searched when in doubt."""

import numpy as np
import polars as pl
import pytest

from embedder_assets.drop_collection import drop_collection
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.retrieval import hnsw_index
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.hnsw_index import (
    NEWEST,
    HnswIndex,
    HnswIndexStage,
    index_folder,
    measured_recall,
    open_index,
    usable_index,
)
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_settings

KB, MODEL, DIMENSION = "kb", ModelVersion("dense", "dense-1"), 24
CHUNKS, QUERIES = 400, 20
RANDOM = np.random.default_rng(7)


def unit(rows: int) -> np.ndarray:
    vectors = RANDOM.standard_normal((rows, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit(CHUNKS + 100)
ASKED = unit(QUERIES)


def append(store, table, **columns):
    rows = len(next(iter(columns.values())))
    plain = {pl.String(): "", pl.Int64(): 1}
    columns = {
        "collection": [KB] * rows,
        "model": [MODEL.name] * rows,
        "model_fingerprint": [MODEL.fingerprint] * rows,
        **columns,
    }
    schema = SCHEMAS[table]
    store.append(
        table,
        pl.DataFrame({name: columns.get(name, [plain.get(kind)] * rows) for name, kind in schema.items()}, schema),
    )


def add_chunks(store, numbers):
    key = {"chunk_id": [f"c{n:04d}" for n in numbers], "content_sha256": [f"{n * 7919 % 65536:04x}" for n in numbers]}
    append(store, "chunks", **key)
    append(store, "dense_embeddings", **key, embedding=VECTORS[list(numbers)].tolist())


def rank_queries(store):
    """What the fuse stage leaves of exact search."""
    for table in ("query_embeddings", "fused_candidates"):
        store.remove(table, KB)
    names = [f"q{n:02d}" for n in range(QUERIES)]
    append(store, "query_embeddings", query_id=names, content_sha256=names, embedding=ASKED.tolist())
    rows = store.read("dense_embeddings", KB)
    exact = ChunkIndex.of_rows([[rows]]).rank_dense(0, ASKED, 100)
    append(
        store,
        "fused_candidates",
        query_id=[names[query] for query in exact["query"]],
        chunk_id=exact["chunk_id"].to_list(),
        dense_ranks=[[rank] for rank in exact["rank"]],
    )


@pytest.fixture
def store(tmp_path) -> TableStore:
    store = TableStore(tmp_path)
    add_chunks(store, range(CHUNKS))
    rank_queries(store)
    return store


def stage(store, above=CHUNKS // 2) -> HnswIndexStage:
    return HnswIndexStage(store, make_settings(store.home, approximate_above=above))


def keep(store):
    return stage(store).run(KB, [MODEL])[MODEL.name]


def files(store) -> list[str]:
    return sorted(file.name for file in index_folder(store.home, KB, MODEL).glob("*"))


def test_index_finds_what_exact_search_finds(store):
    done = keep(store)
    assert (done.rows, done.added, done.removed) == (CHUNKS, CHUNKS, 0)
    assert done.recall.queries == QUERIES
    assert done.recall.at_10 >= 0.95
    index = usable_index(store, KB, MODEL)
    exact = ChunkIndex.of_rows([[store.read("dense_embeddings", KB)]])
    approximate = ChunkIndex([[index]], None)
    found, wanted = approximate.rank_dense(0, ASKED, 10), exact.rank_dense(0, ASKED, 10)
    same = found.join(wanted, on=["query", "chunk_id"])
    assert same.height >= 0.95 * wanted.height
    # What is found has the score that exact search gives it, to the bit, and so the same order.
    assert same["score"].equals(same["score_right"], check_names=False)
    some = pl.Series([f"c{n:04d}" for n in (5, 300, 5)])
    assert np.array_equal(approximate.vectors(0, some), exact.vectors(0, some))


def test_index_follows_the_table_row_by_row(store):
    keep(store)
    before = files(store)
    done = keep(store)
    assert (done.rows, done.added, done.removed) == (CHUNKS, 0, 0)
    assert files(store) == before
    removed = pl.DataFrame({"chunk_id": [f"c{n:04d}" for n in range(10)]})
    for table in ("chunks", "dense_embeddings"):
        store.delete_and_insert(table, KB, pl.DataFrame(schema=SCHEMAS[table]), removed)
    add_chunks(store, range(CHUNKS, CHUNKS + 5))
    assert usable_index(store, KB, MODEL) is None
    rank_queries(store)
    done = keep(store)
    assert (done.rows, done.added, done.removed) == (CHUNKS - 5, 5, 10)
    assert len(files(store)) == 3
    index = usable_index(store, KB, MODEL)
    assert "c0003" not in index.position
    assert np.array_equal(index.vectors_at(np.array([index.position["c0402"]])), VECTORS[[402]])


def test_many_removals_cause_a_rebuild(store):
    keep(store)
    for start in (0, 60):
        removed = pl.DataFrame({"chunk_id": [f"c{n:04d}" for n in range(start, start + 60)]})
        for table in ("chunks", "dense_embeddings"):
            store.delete_and_insert(table, KB, pl.DataFrame(schema=SCHEMAS[table]), removed)
        rank_queries(store)
        keep(store)
    index, _ = open_index(index_folder(store.home, KB, MODEL), view=False)
    assert index.needs_rebuild
    assert keep(store).added == CHUNKS - 120
    index, _ = open_index(index_folder(store.home, KB, MODEL), view=False)
    assert index.removed == 0


def test_low_recall_raises_expansion_then_disables_index(store, monkeypatch):
    seen = []

    def measured(store, index, *rest):
        seen.append(index.expansion)
        return measured_recall(store, index, *rest)

    monkeypatch.setattr(hnsw_index, "EXPANSIONS", (1, 2, 512))
    monkeypatch.setattr(hnsw_index, "measured_recall", measured)
    assert keep(store).expansion == seen[-1]
    assert seen == sorted(seen)
    # Exact ranks that no index can find: those of other chunks.
    wrong = store.read("fused_candidates", KB).with_columns(chunk_id=pl.format("x{}", "chunk_id"))
    store.overwrite("fused_candidates", KB, [wrong])
    add_chunks(store, [CHUNKS])
    done = keep(store)
    assert done.recall.at_10 == 0
    assert done.expansion == 512
    assert not done.recall.enough
    assert usable_index(store, KB, MODEL) is None


def test_without_queries_search_stays_exact(store):
    store.remove("fused_candidates", KB)
    done = keep(store)
    assert done.recall.at_10 is None
    assert usable_index(store, KB, MODEL) is None


@pytest.mark.parametrize("above", [0, CHUNKS])
def test_a_small_collection_has_no_index(store, above):
    keep(store)
    assert stage(store, above).run(KB, [MODEL]) == {}
    assert not (store.home / "indexes" / KB).exists()


def test_index_of_a_removed_model_is_deleted(store):
    keep(store)
    stage(store).run(KB, [ModelVersion("dense", "dense-2")])
    assert not index_folder(store.home, KB, MODEL).exists()


def test_dropping_a_collection_deletes_its_index(store):
    keep(store)
    drop_collection(store, KB)
    assert not (store.home / "indexes" / KB).exists()


def shorten(folder):
    file = next(folder.glob("*.usearch"))
    file.write_bytes(file.read_bytes()[:1000])


@pytest.mark.parametrize(
    "harm",
    [
        shorten,
        lambda folder: (folder / NEWEST).write_text("{", "utf-8"),
        lambda folder: next(folder.glob("*.parquet")).write_bytes(b"no"),
        lambda folder: next(folder.glob("*.usearch")).unlink(),
    ],
)
def test_broken_files_are_rebuilt_not_searched(store, harm):
    keep(store)
    harm(index_folder(store.home, KB, MODEL))
    assert usable_index(store, KB, MODEL) is None
    assert keep(store).added == CHUNKS
    assert usable_index(store, KB, MODEL) is not None
    assert len(files(store)) == 3


def test_empty_index_and_no_rows_are_answered(tmp_path):
    index = HnswIndex.empty(4)
    assert index.vectors_at(np.empty(0, np.int64)).shape == (0, 4)
    index.add(pl.DataFrame({"chunk_id": ["a"], "content_sha256": ["s"], "embedding": [[0.0, 1.0, 0.0, 0.0]]}))
    for queries in (1, 2):
        row, chunk = index.search(np.eye(4, dtype=np.float32)[:queries], 5)
        assert (row.tolist(), chunk.tolist()) == ([*range(queries)], [0] * queries)
