"""The approximate index: it follows the table, is measured against exact search, and is not searched when in doubt."""

import numpy as np
import polars as pl
import pytest

from embedder_assets.drop_collection import drop_collection
from embedder_assets.retrieval import approximate
from embedder_assets.retrieval.approximate import ApproximateStage, graph_of, measured_recall
from embedder_assets.retrieval.exact_index import ChunkIndex
from embedder_assets.retrieval.hnsw_index import NEWEST, Graph, graph_folder, open_graph
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_settings

KB, MODEL, DIMENSION = "kb", ("dense", "dense-1"), 24
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
    columns = {"collection": [KB] * rows, "model": [MODEL[0]] * rows, "model_fingerprint": [MODEL[1]] * rows, **columns}
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


def stage(store, above=CHUNKS // 2) -> ApproximateStage:
    return ApproximateStage(store, make_settings(store.home, approximate_above=above))


def keep(store):
    return stage(store).run(KB, [MODEL])[MODEL[0]]


def files(store) -> list[str]:
    return sorted(file.name for file in graph_folder(store.home, KB, MODEL).glob("*"))


def test_it_holds_every_row_and_finds_what_exact_search_finds(store):
    done = keep(store)
    assert (done.rows, done.added, done.removed) == (CHUNKS, CHUNKS, 0)
    assert done.recall.queries == QUERIES
    assert done.recall.at_10 >= 0.95
    graph = graph_of(store, KB, MODEL)
    exact = ChunkIndex.of_rows([[store.read("dense_embeddings", KB)]])
    near = ChunkIndex([[graph]], None)
    found, wanted = near.rank_dense(0, ASKED, 10), exact.rank_dense(0, ASKED, 10)
    same = found.join(wanted, on=["query", "chunk_id"])
    assert same.height >= 0.95 * wanted.height
    # What is found has the score that exact search gives it, to the bit, and so the same order.
    assert same["score"].equals(same["score_right"], check_names=False)
    some = pl.Series([f"c{n:04d}" for n in (5, 300, 5)])
    assert np.array_equal(near.vectors(0, some), exact.vectors(0, some))


def test_it_follows_the_table_row_by_row_and_does_nothing_where_nothing_changed(store):
    keep(store)
    before = files(store)
    done = keep(store)
    assert (done.rows, done.added, done.removed) == (CHUNKS, 0, 0)
    assert files(store) == before
    gone = pl.DataFrame({"chunk_id": [f"c{n:04d}" for n in range(10)]})
    for table in ("chunks", "dense_embeddings"):
        store.exchange(table, KB, pl.DataFrame(schema=SCHEMAS[table]), gone)
    add_chunks(store, range(CHUNKS, CHUNKS + 5))
    assert graph_of(store, KB, MODEL) is None
    rank_queries(store)
    done = keep(store)
    assert (done.rows, done.added, done.removed) == (CHUNKS - 5, 5, 10)
    assert len(files(store)) == 3
    graph = graph_of(store, KB, MODEL)
    assert "c0003" not in graph.position
    assert np.array_equal(graph.vectors_at(np.array([graph.position["c0402"]])), VECTORS[[402]])


def test_after_many_removals_it_is_built_anew(store):
    keep(store)
    for start in (0, 60):
        gone = pl.DataFrame({"chunk_id": [f"c{n:04d}" for n in range(start, start + 60)]})
        for table in ("chunks", "dense_embeddings"):
            store.exchange(table, KB, pl.DataFrame(schema=SCHEMAS[table]), gone)
        rank_queries(store)
        keep(store)
    graph, _ = open_graph(graph_folder(store.home, KB, MODEL), view=False)
    assert graph.needs_rebuild
    assert keep(store).added == CHUNKS - 120
    graph, _ = open_graph(graph_folder(store.home, KB, MODEL), view=False)
    assert graph.removed == 0


def test_a_graph_that_finds_too_little_is_widened_and_in_the_end_not_searched(store, monkeypatch):
    seen = []

    def measured(store, graph, *rest):
        seen.append(graph.expansion)
        return measured_recall(store, graph, *rest)

    monkeypatch.setattr(approximate, "EXPANSIONS", (1, 2, 512))
    monkeypatch.setattr(approximate, "measured_recall", measured)
    assert keep(store).expansion == seen[-1]
    assert seen == sorted(seen)
    # Exact ranks that no graph can find: those of other chunks.
    wrong = store.read("fused_candidates", KB).with_columns(chunk_id=pl.format("x{}", "chunk_id"))
    store.overwrite("fused_candidates", KB, [wrong])
    add_chunks(store, [CHUNKS])
    done = keep(store)
    assert done.recall.at_10 == 0
    assert done.expansion == 512
    assert not done.recall.enough
    assert graph_of(store, KB, MODEL) is None


def test_without_queries_nothing_is_known_of_it_and_search_stays_exact(store):
    store.remove("fused_candidates", KB)
    done = keep(store)
    assert done.recall.at_10 is None
    assert graph_of(store, KB, MODEL) is None


@pytest.mark.parametrize("above", [0, CHUNKS])
def test_a_collection_that_is_searched_fast_enough_has_none(store, above):
    keep(store)
    assert stage(store, above).run(KB, [MODEL]) == {}
    assert not (store.home / "indexes" / KB).exists()


def test_the_graph_of_a_model_that_is_not_configured_any_more_goes(store):
    keep(store)
    stage(store).run(KB, [("dense", "dense-2")])
    assert not graph_folder(store.home, KB, MODEL).exists()


def test_a_collection_that_is_dropped_takes_it_along(store):
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
def test_broken_files_are_not_searched_and_built_anew(store, harm):
    keep(store)
    harm(graph_folder(store.home, KB, MODEL))
    assert graph_of(store, KB, MODEL) is None
    assert keep(store).added == CHUNKS
    assert graph_of(store, KB, MODEL) is not None
    assert len(files(store)) == 3


def test_an_empty_graph_and_no_rows_are_answered(tmp_path):
    graph = Graph.empty(4)
    assert graph.vectors_at(np.empty(0, np.int64)).shape == (0, 4)
    graph.add(pl.DataFrame({"chunk_id": ["a"], "content_sha256": ["s"], "embedding": [[0.0, 1.0, 0.0, 0.0]]}))
    for queries in (1, 2):
        row, chunk = graph.search(np.eye(4, dtype=np.float32)[:queries], 5)
        assert (row.tolist(), chunk.tolist()) == ([*range(queries)], [0] * queries)
