"""Search while the tables change: it answers from rows that belong together, and says where they are not the newest."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from embedder_assets.drop_collection import drop_collection
from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.keys import ModelVersion
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.errors import IncompleteTableError, TableError
from embedder_assets.retrieval.consistent_view import needed_versions
from embedder_assets.retrieval.hnsw_index import HnswIndexStage
from embedder_assets.retrieval.search import Search
from embedder_assets.tables import maintenance
from embedder_assets.tables.history import commits_of, restore
from embedder_assets.tables.maintenance import maintain
from embedder_assets.tables.store import TableStore
from embedder_assets.tables.transaction import run_exclusively
from tests.support.factories import (
    DENSE,
    SPARSE,
    FakeTriton,
    dense_vector,
    make_chunks,
    make_meter,
    make_settings,
    sha256,
)

ALL = 100


class World:
    """Two collections whose stages run one by one, as those of a run do, and a search over them."""

    def __init__(self, home: Path, **settings: object) -> None:
        self.home = home
        self.settings = make_settings(home, enable_rerank=False, **settings)
        self.triton = FakeTriton()
        self.warnings: list[str] = []

    @property
    def store(self) -> TableStore:
        """Of a process of its own."""
        return TableStore(self.home)

    def chunk(self, name: str, *texts: str) -> None:
        def work(tables: TableStore) -> None:
            chunks = make_chunks(*texts, collection=name)
            tables.delete_and_insert("chunks", name, chunks, tables.read("chunks", name, ["chunk_id"]))

        run_exclusively(self.store, [name], work)

    def embed(self, name: str, table: str, fingerprint: str = "1") -> None:
        encoder = DenseEncoder(DENSE, f"dense-{fingerprint}") if table == "dense" else SparseEncoder(SPARSE, "sparse-1")

        def work(tables: TableStore) -> None:
            EmbeddingStage(tables, self.triton, self.settings, [encoder]).run(name, make_meter(table))

        run_exclusively(self.store, [name], work)

    def run(self, name: str, *texts: str) -> None:
        self.chunk(name, *texts)
        self.embed(name, "dense")
        self.embed(name, "sparse")

    def search(self, *names: str) -> Search:
        self.warnings.clear()
        return Search(self.store, self.triton, self.settings, names, self.warnings.append)

    def found(self, *names: str) -> dict[str, set[str]]:
        """Collection to the texts that a search over everything finds, each once."""
        texts: dict[str, set[str]] = {}
        for hit in self.search(*names).search("red", ALL):
            assert hit.snippet not in texts.setdefault(hit.collection, set())
            texts[hit.collection].add(hit.snippet)
        return texts


@pytest.fixture
def world(tmp_path) -> World:
    world = World(tmp_path)
    world.run("kb", "red apple", "blue sky")
    world.run("other", "green tree")
    return world


OLD = {"kb": {"red apple", "blue sky"}, "other": {"green tree"}}


def test_every_moment_of_a_run_is_searchable(world):
    world.chunk("kb", "red apple", "white snow", "black coal")
    assert world.found() == OLD
    (warning,) = world.warnings
    assert "collection 'kb' is being updated" in warning
    assert "searched as it was at 20" in warning
    assert {hit.state for hit in world.search("kb").search("red", ALL)} == {"earlier"}
    world.embed("kb", "dense")
    assert world.found() == OLD
    world.embed("kb", "sparse")
    assert world.found() == {**OLD, "kb": {"red apple", "white snow", "black coal"}}
    assert world.warnings == []
    assert {hit.state for hit in world.search().search("red", ALL)} == {"newest"}


def test_sparse_vectors_before_dense_ones_are_as_good(world):
    world.chunk("kb", "white snow")
    world.embed("kb", "sparse")
    assert world.found() == OLD
    world.embed("kb", "dense")
    assert world.found() == {**OLD, "kb": {"white snow"}}


def test_killed_runs_leave_last_complete_state(world):
    for number in range(6):
        world.chunk("kb", f"draft {number}", "blue sky")
        world.run("other", f"tree {number}")
    assert world.found() == {"kb": OLD["kb"], "other": {"tree 5"}}


def test_change_without_new_vectors_is_immediate(world):
    texts = world.store.read("chunks", "kb")
    world.store.overwrite("chunks", "kb", texts.with_columns(heading=pl.lit("Moved")))
    world.chunk("kb", "white snow")
    hits = world.search("kb").search("red", ALL)
    assert {(hit.snippet, hit.heading) for hit in hits} == {("red apple", "Moved"), ("blue sky", "Moved")}


def test_removed_chunks_are_gone_before_their_vectors(world):
    world.chunk("kb", "red apple")
    assert world.found("kb") == {"kb": {"red apple"}}
    assert world.warnings == []


def test_first_run_leaves_others_searchable(world):
    world.chunk("fresh", "new text")
    assert world.found() == OLD
    (warning,) = world.warnings
    assert warning.startswith("collection 'fresh' is not searched: table 'dense_embeddings'")
    with pytest.raises(IncompleteTableError, match="collection 'fresh'"):
        world.found("fresh")


def test_model_without_rows_is_reported(world):
    world.embed("other", "dense", "2")
    world.triton.fingerprints[DENSE] = "dense-2"
    assert world.found() == {"other": OLD["other"]}
    assert "collection 'kb' is not searched" in world.warnings[0]
    assert "fingerprint dense-2" in world.warnings[0]


def test_partial_search_without_earlier_state(world, monkeypatch):
    world.chunk("kb", "red apple", "white snow", "black coal")
    monkeypatch.setattr(maintenance, "SHORTEST_HOURS", 0)
    maintain(world.store, 0)
    assert world.found("kb") == {"kb": {"red apple"}}
    assert "searched without 2 of its 3 chunks, which have no vectors yet" in world.warnings[0]
    assert world.search("kb").search("red", 1)[0].state == "partial"


@pytest.mark.parametrize("further", [(), ("dense",), ("sparse",)])
def test_maintenance_keeps_the_files_that_search_needs(world, monkeypatch, further):
    monkeypatch.setattr(maintenance, "SHORTEST_HOURS", 0)
    world.chunk("kb", "red apple", "white snow")
    for table in further:
        world.embed("kb", table)
    for _ in range(2):
        maintain(world.store, 0, needed=lambda: needed_versions(world.store))
        assert world.found() == OLD
    for table in ("dense", "sparse"):
        world.embed("kb", table)
    assert needed_versions(world.store) == {}
    maintain(world.store, 0, needed=lambda: needed_versions(world.store))
    with pytest.raises(TableError, match="files that are all there"):
        restore(world.store, "chunks", 0, "kb")
    assert world.found()["kb"] == {"red apple", "white snow"}


def test_search_follows_a_restored_table(world):
    world.run("kb", "white snow")
    (newest, earlier, *_) = commits_of(world.store, "dense_embeddings", "kb")
    restore(world.store, "dense_embeddings", earlier.version, "kb")
    assert world.found("kb") == {"kb": {"white snow"}}
    assert "searched as it was" in world.warnings[0]
    restore(world.store, "dense_embeddings", newest.version)
    assert world.found("kb") == {"kb": {"white snow"}}
    assert world.warnings == []


def test_dropped_collection_is_not_searched(world):
    world.chunk("kb", "white snow")
    drop_collection(world.store, "kb")
    assert world.found() == {"other": OLD["other"]}


def test_known_failures_leave_the_state_complete(tmp_path):
    world = World(tmp_path)
    world.triton = FakeTriton(poison=["bad words"])
    world.run("kb", "red apple", "bad words")
    assert world.found() == {"kb": {"red apple"}}
    world.triton = FakeTriton()
    # The failure is not listed any more a moment before the vector is published.
    world.store.remove("inference_issues", "kb")
    assert world.found() == {"kb": {"red apple"}}
    assert "searched as it was" in world.warnings[0]
    world.chunk("kb", "red apple", "bad words", "more")
    assert world.found() == {"kb": {"red apple"}}


def test_damage_to_one_collection_hides_no_other(world):
    (file,) = Path(world.store.path("dense_embeddings")).glob("collection=kb/*.parquet")
    file.write_bytes(b"PAR1")
    assert world.found() == {"other": OLD["other"]}
    assert "collection 'kb' is not searched: table 'dense_embeddings'" in world.warnings[0]
    with pytest.raises(TableError, match="readable Delta Lake files"):
        world.found("kb")


@pytest.mark.parametrize("moment", ["chunks", "dense_embeddings", "sparse_embeddings"])
def test_a_commit_during_a_search_gives_no_mixture(world, monkeypatch, moment):
    read, due = TableStore.read, [True]

    def interrupted(store, table, *arguments, **options):
        rows = read(store, table, *arguments, **options)
        if table == moment and due:
            due.clear()
            world.run("kb", "white snow")
        return rows

    monkeypatch.setattr(TableStore, "read", interrupted)
    assert world.found("kb") in ({"kb": OLD["kb"]}, {"kb": {"white snow"}})
    assert world.warnings == []


def test_open_search_ignores_later_runs(world, monkeypatch):
    monkeypatch.setattr(maintenance, "SHORTEST_HOURS", 0)
    search = world.search()
    world.run("kb", "white snow")
    maintain(world.store, 0)
    assert {hit.snippet for hit in search.search("red", ALL)} == OLD["kb"] | OLD["other"]


def test_hnsw_index_of_other_chunks_is_ignored(tmp_path):
    world = World(tmp_path, approximate_above=1)
    texts = [f"text {number}" for number in range(6)]
    world.run("kb", *texts)
    store, model = world.store, ModelVersion(DENSE, "dense-1")
    queries = pl.DataFrame({"collection": "kb", "query_id": ["q"], "content_sha256": [sha256("text 1")]})
    vector = pl.Series("embedding", [dense_vector("text 1").tolist()], pl.List(pl.Float32))
    asked = {"model": pl.lit(DENSE), "model_fingerprint": pl.lit("dense-1"), "indices": None, "values": None}
    store.replace("query_embeddings", "kb", queries.with_columns(vector, **asked))
    candidates = store.read("chunks", "kb").select("collection", "chunk_id", "doc_id", query_id=pl.lit("q"))
    kinds = store.read("fused_candidates", "none").schema
    rows = candidates.with_columns(dense_ranks=pl.concat_list(pl.lit(1, pl.Int64)))
    empty = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in rows.columns]
    store.replace("fused_candidates", "kb", rows.with_columns(empty))
    (outcome,) = HnswIndexStage(store, world.settings).run("kb", [model]).values()
    assert outcome.recall.enough
    assert world.found() == {"kb": set(texts)}
    world.chunk("kb", *texts[:-1])  # the index still holds the chunk that went
    assert world.found() == {"kb": set(texts[:-1])}
    world.chunk("kb", *texts[:-1], "newer")
    assert world.found() == {"kb": set(texts[:-1])}
    world.embed("kb", "dense")
    world.embed("kb", "sparse")
    assert world.found() == {"kb": {*texts[:-1], "newer"}}


@pytest.mark.parametrize("seed", range(2))
def test_search_finds_newest_complete_state(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(maintenance, "SHORTEST_HOURS", 0)
    chance, world = random.Random(seed), World(tmp_path)
    words = ["red", "blue", "green", "white", "black"]
    current = {name: (f"{name} first",) for name in ("kb", "other")}
    covered: dict[str, set[str]] = {}
    complete = {}
    for name, texts in current.items():
        world.run(name, *texts)
        complete[name], covered[name] = set(texts), {"dense", "sparse"}
    for _ in range(10):
        name = chance.choice(["kb", "other"])
        step = chance.choice(["chunk", "chunk", "dense", "sparse", "maintain", "compact"])
        if step == "chunk":
            current[name] = tuple(chance.sample([f"{name} {word}" for word in words], chance.randint(1, 4)))
            world.chunk(name, *current[name])
            covered[name] = set()
        elif step == "maintain":
            maintain(world.store, 0, needed=lambda: needed_versions(world.store))
        elif step == "compact":
            maintain(world.store, 7)
        else:
            world.embed(name, step)
            covered[name].add(step)
        if covered[name] == {"dense", "sparse"}:
            complete[name] = set(current[name])
        found = world.found()
        for each, texts in found.items():
            # Chunks whose vectors are there already make a newer state complete before a stage has looked at them.
            assert texts in (complete[each], set(current[each]))
        assert found.keys() == complete.keys()


def test_duplicate_options_find_each_chunk_once(world):
    assert world.found("kb", "other", "kb") == OLD


@pytest.mark.parametrize(
    ("name", "remedy"), [("othr", "Did you mean 'other'?"), ("zzz", "Correct the name, or run `embedder run` first.")]
)
def test_unknown_collection_is_refused_with_the_nearest(world, name, remedy):
    with pytest.raises(TableError, match="expected one of: kb, other") as caught:
        world.search("kb", name)
    assert (caught.value.thing, caught.value.remedy) == (f"collection '{name}'", remedy)


def test_tables_without_chunks_say_what_to_run(tmp_path):
    world = World(tmp_path)
    with pytest.raises(TableError, match="expected chunks to search, got none"):
        world.search()
