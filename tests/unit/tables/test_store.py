import itertools
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from embedder_assets.errors import TableError
from embedder_assets.tables.history import restore, versions
from embedder_assets.tables.maintenance import maintain
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_chunks, make_documents, make_queries

AWKWARD_NAMES = ["it's", '"quoted"', "two words", "a/b", "100%", "c=d", "日本語", "'; DROP", "a\\b"]

# The contract of the design: columns that others rely on.
CONTRACT = {
    "chunks": "collection doc_id chunk_id chunk_index text start end token_count heading content_sha256",
    "dense_embeddings": "collection chunk_id content_sha256 model model_fingerprint embedding",
    "sparse_embeddings": "collection chunk_id content_sha256 model model_fingerprint indices values source",
    "queries": "collection query_id text source",
    "fused_candidates": "collection query_id chunk_id doc_id rank score dense_rank sparse_rank",
    "reranked_candidates": "collection query_id chunk_id doc_id rank score fused_rank fallback_used",
}


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


def version(store: TableStore, table: str = "chunks") -> int:
    return DeltaTable(str(store.path(table))).version()


def texts(store: TableStore, collection: str = "kb") -> list[str]:
    return sorted(store.read("chunks", collection)["text"])


@pytest.mark.parametrize("table", CONTRACT)
def test_tables_have_documented_columns_and_partition(store, table):
    assert set(CONTRACT[table].split()) <= SCHEMAS[table].keys()
    store.replace(table, "kb", pl.DataFrame(schema=SCHEMAS[table]))
    delta = DeltaTable(str(store.path(table)))
    assert delta.metadata().partition_columns == ["collection"]
    assert [field.name for field in delta.schema().fields] == list(SCHEMAS[table])


def test_a_dense_vector_is_a_list_of_float32():
    assert SCHEMAS["dense_embeddings"]["embedding"] == pl.List(pl.Float32)


def test_rows_come_back_as_they_were_written(store):
    chunks = make_chunks("one", "two")
    assert store.replace("chunks", "kb", chunks)
    assert_frame_equal(store.read("chunks", "kb"), chunks, check_row_order=False)


def test_missing_table_reads_as_typed_empty_frame(store):
    assert store.read("chunks", "kb").schema == SCHEMAS["chunks"]
    assert store.read("chunks", "kb", ["text"]).columns == ["text"]
    assert (store.count("chunks", "kb"), store.collections("chunks"), store.exists("chunks")) == (0, [], False)


def test_replace_is_one_commit_per_collection(store):
    store.replace("chunks", "kb", make_chunks("old one", "old two"))
    store.replace("chunks", "other", make_chunks("untouched", collection="other"))
    before = version(store)
    assert store.replace("chunks", "kb", make_chunks("new"))
    assert version(store) == before + 1
    assert (texts(store), texts(store, "other")) == (["new"], ["untouched"])
    assert (store.count("chunks", "kb"), store.count("chunks", "other")) == (1, 1)


def test_the_version_before_a_replace_still_reads_whole(store):
    store.replace("chunks", "kb", make_chunks("old one", "old two"))
    store.replace("chunks", "kb", make_chunks("new"))
    earlier = pl.scan_delta(store.path("chunks"), version=0).collect()
    assert sorted(earlier["text"]) == ["old one", "old two"]


def test_nothing_is_committed_when_nothing_changed(store):
    store.replace("chunks", "kb", make_chunks("one", "two"))
    before = version(store)
    assert not store.replace("chunks", "kb", make_chunks("one", "two").reverse())
    assert not store.replace("chunks", "nobody", make_chunks().clear())
    assert version(store) == before


def test_change_within_a_list_is_committed(store):
    row = {name: ["x"] for name in ("collection", "chunk_id", "content_sha256", "model", "model_fingerprint")}
    store.replace("dense_embeddings", "x", pl.DataFrame({**row, "embedding": [[1.0, 0.0]]}))
    assert store.replace("dense_embeddings", "x", pl.DataFrame({**row, "embedding": [[0.0, 1.0]]}))
    assert store.read("dense_embeddings", "x")["embedding"].to_list() == [[0.0, 1.0]]


def test_replacing_with_no_rows_empties_the_collection(store):
    store.replace("chunks", "kb", make_chunks("one"))
    store.replace("chunks", "other", make_chunks("two", collection="other"))
    assert store.replace("chunks", "kb", make_chunks())
    assert (store.count("chunks", "kb"), store.collections("chunks")) == (0, ["other"])


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_any_collection_name_can_be_stored(store, name):
    store.replace("queries", "kb", make_queries("bystander"))
    store.replace("queries", name, make_queries("first", "second", collection=name))
    store.replace("queries", name, make_queries("changed", "second", collection=name))
    assert sorted(store.read("queries", name)["text"]) == ["changed", "second"]
    assert store.collections("queries") == sorted(["kb", name])
    assert store.delete_and_insert("queries", name, make_queries(), pl.DataFrame({"query_id": ["q0"]})) == 1
    assert (store.count("queries", name), store.count("queries", "kb")) == (1, 1)
    store.replace("queries", name, make_queries())
    assert store.collections("queries") == ["kb"]


def test_deletion_matches_all_key_columns(store):
    pairs = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]
    rows = pl.DataFrame(
        [{"collection": "kb", "path": a, "kind": b, "message": ""} for a, b in pairs], schema=SCHEMAS["document_issues"]
    )
    store.append("document_issues", rows)
    store.append("document_issues", rows.with_columns(collection=pl.lit("other")))
    keys = pl.DataFrame({"path": ["a", "b"], "kind": ["1", "2"]})
    assert store.delete_and_insert("document_issues", "kb", rows.clear(), keys) == 2
    assert set(store.read("document_issues", "kb", ["path", "kind"]).iter_rows()) == {("a", "2"), ("b", "1")}
    assert store.count("document_issues", "other") == 4


def test_removing_no_keys_or_absent_keys_removes_nothing(store):
    store.append("queries", make_queries("one"))
    before = version(store, "queries")
    none = pl.DataFrame({"query_id": []}, schema={"query_id": pl.String})
    assert store.delete_and_insert("queries", "kb", make_queries(), none) == 0
    assert version(store, "queries") == before
    assert store.delete_and_insert("queries", "kb", make_queries(), pl.DataFrame({"query_id": ["none"]})) == 0
    assert store.count("queries", "kb") == 1


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_delete_and_insert_is_one_commit(store, name):
    store.append("queries", make_queries("one", "two", collection=name))
    store.append("queries", make_queries("one", "two", collection="kb"))
    before = version(store, "queries")
    added = make_queries("new", collection=name).with_columns(query_id=pl.lit("q9"))
    assert store.delete_and_insert("queries", name, added, pl.DataFrame({"query_id": ["q0"]})) == 1
    assert version(store, "queries") == before + 1
    assert set(store.read("queries", name)["text"]) == {"new", "two"}
    assert set(store.read("queries", "kb")["text"]) == {"one", "two"}


def test_delete_and_insert_without_deletes_is_an_append(store):
    store.append("queries", make_queries("one"))
    none = pl.DataFrame({"query_id": []}, schema={"query_id": pl.String})
    store.delete_and_insert("queries", "kb", make_queries("two"), none)
    history = DeltaTable(str(store.path("queries"))).history(1)
    assert (history[0]["operation"], history[0]["operationParameters"]["mode"]) == ("WRITE", "Append")


def test_delete_and_insert_accepts_sql_words_as_columns(store):
    row = {name: ["x"] for name in ("collection", "chunk_id", "content_sha256", "model", "model_fingerprint", "source")}
    rows = pl.DataFrame({**row, "indices": [[1, 2]], "values": [[0.5, 0.25]]})
    store.append("sparse_embeddings", rows)
    new = rows.with_columns(chunk_id=pl.lit("y"))
    assert store.delete_and_insert("sparse_embeddings", "x", new, rows.select("chunk_id", "source")) == 1
    assert_frame_equal(
        store.read("sparse_embeddings", "x"), new.cast(SCHEMAS["sparse_embeddings"]), check_column_order=False
    )


def test_read_honours_filter_and_limit(store):
    store.append("queries", make_queries("one", "two", "three"))
    found = store.read("queries", "kb", ["text"], where=pl.col("query_id") == "q1")
    assert found.rows() == [("two",)]
    assert store.read("queries", "kb", limit=2).height == 2


def test_newer_column_is_null_in_older_files(store, monkeypatch):
    store.replace("queries", "kb", make_queries("one"))
    store.replace("queries", "old", make_queries("one", collection="old"))
    newer = make_queries("one").with_columns(ranks=pl.Series([[1, None]], dtype=pl.List(pl.Int64)))
    monkeypatch.setitem(SCHEMAS, "queries", {**SCHEMAS["queries"], "ranks": pl.List(pl.Int64)})
    assert store.read("queries", "kb")["ranks"].to_list() == [None]
    assert store.replace("queries", "kb", newer)
    assert store.read("queries", "kb")["ranks"].to_list() == [[1, None]]
    assert store.read("queries", "old")["ranks"].to_list() == [None]
    monkeypatch.undo()
    assert store.read("queries", "kb")["text"].to_list() == ["one"]


def test_changed_input_digests_are_found_without_reading_rows(store, monkeypatch):
    columns = {name: pl.Series([None], dtype=data_type) for name, data_type in SCHEMAS["fused_candidates"].items()}
    rows = pl.DataFrame(columns).with_columns(collection=pl.lit("kb"), input_digest=pl.lit("first"))
    assert store.replace("fused_candidates", "kb", rows)
    assert not store.replace("fused_candidates", "kb", rows)
    read, looks = store.read, []
    monkeypatch.setattr(store, "read", lambda table, name, columns: looks.append(columns) or read(table, name, columns))
    assert store.replace("fused_candidates", "kb", rows.with_columns(input_digest=pl.lit("second")))
    assert looks == [["input_digest"]]


def test_append_adds_rows_in_one_commit(store):
    store.append("chunks", make_chunks("one"))
    store.append("chunks", make_chunks("two", "three", doc_id="b.md"))
    assert (version(store), texts(store)) == (1, ["one", "three", "two"])


def test_an_older_table_gets_new_columns(store):
    before, after = make_chunks("one", "two"), make_chunks("one", "three").with_columns(context=pl.lit("Whales"))
    older = before.drop("title", "context")
    older.write_delta(str(store.path("chunks")), delta_write_options={"partition_by": ["collection"]})
    assert store.read("chunks", "kb")["context"].null_count() == 2
    store.delete_and_insert("chunks", "kb", after.tail(1), before.tail(1).select("chunk_id", "content_sha256"))
    assert dict(store.read("chunks", "kb", ["text", "context"]).iter_rows()) == {"one": None, "three": "Whales"}


def test_rows_without_a_promised_column_are_refused(store):
    with pytest.raises(TableError, match="without heading, content_sha256"):
        store.append("chunks", make_chunks("one").drop("heading", "content_sha256"))
    assert not store.exists("chunks")


@pytest.mark.parametrize(
    ("broken", "action"),
    [
        *itertools.product(["*/*.parquet", "_delta_log/*.json"], ["read", "count"]),
        ("_delta_log/*.json", "collections"),
    ],
)
def test_corrupted_file_names_the_remedy(store, broken, action):
    store.replace("documents", "kb", make_documents(a="text"))
    for file in store.path("documents").glob(broken):
        file.write_bytes(b"this is no table file " * 20)
    calls = {"read": ("documents", "kb"), "count": ("documents", "kb"), "collections": ("documents",)}
    with pytest.raises(TableError, match="`embedder tables restore documents` restores") as caught:
        getattr(store, action)(*calls[action])
    assert str(store.path("documents")) in caught.value.thing


def test_odd_home_and_collection_names_work(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "my home \u00e9")
    for name in ("a b'c%20\u00e9", "plain", "x=y&z"):
        store.replace("queries", name, make_queries("a text", collection=name))
    for name in ("a b'c%20\u00e9", "plain", "x=y&z"):
        assert set(store.read("queries", name)["collection"]) == {name}
        assert store.count("queries", name) == 1
    assert store.collections("queries") == sorted(["a b'c%20\u00e9", "plain", "x=y&z"])


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_batches_follow_one_collections_files(store, name):
    store.append("queries", make_queries("one", collection=name))
    store.append("queries", make_queries("two", "three", collection=name))
    store.append("queries", make_queries("other", collection="kb"))
    frames = list(store.batches("queries", name, ["text"]))
    assert sorted(frame.height for frame in frames) == [1, 2]
    assert set(pl.concat(frames)["text"]) == {"one", "two", "three"}
    assert list(store.batches("queries", name, where=pl.col("text") == "none")) == []
    assert list(store.batches("chunks", name)) == []


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_remove_takes_the_rows_of_one_collection(store, name):
    store.append("queries", make_queries("one", "two", collection=name))
    store.append("queries", make_queries("other", collection="kb"))
    assert store.remove("queries", name) == 2
    assert store.collections("queries") == ["kb"]
    assert store.remove("queries", name) == store.remove("chunks", name) == 0


def test_large_delete_and_insert_is_one_streamed_commit(store, monkeypatch):
    """Above MERGE_ROWS, in the table or among the new rows, the collection is written anew."""
    monkeypatch.setattr("embedder_assets.tables.store.MERGE_ROWS", 3)
    store.append("queries", make_queries("a", "b"))
    store.append("queries", make_queries("bystander", collection="other"))
    removed = store.read("queries", "kb", ["query_id"], where=pl.col("text") == "a")
    for many in (5, 1):  # first the new rows are many, then those that are there
        before = version(store, "queries")
        new = [make_queries("x").with_columns(query_id=pl.lit(f"n{many}{at}")) for at in range(many)]
        assert store.delete_and_insert("queries", "kb", iter(new), removed) == 1
        assert version(store, "queries") == before + 1
        removed = pl.DataFrame({"query_id": ["n50"]})
    assert sorted(store.read("queries", "kb")["query_id"]) == ["n10", "n51", "n52", "n53", "n54", "q1"]
    everything = store.read("queries", "kb", ["query_id"])
    assert store.delete_and_insert("queries", "kb", [], everything) == 6
    assert store.collections("queries") == ["other"]


def test_appending_no_frames_makes_no_commit(store):
    store.append("queries", make_queries("one"))
    before = version(store, "queries")
    store.append("queries", [])
    store.append("queries", iter([make_queries()]))
    assert version(store, "queries") == before


def test_rows_are_written_in_digest_order(store):
    store.append("chunks", make_chunks(*[f"text {number}" for number in range(50)]))
    assert next(store.batches("chunks", "kb"))["content_sha256"].is_sorted()


def test_error_in_frames_writes_nothing(store):
    store.append("queries", make_queries("old"))
    before = version(store, "queries")

    def frames():
        yield make_queries("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.append("queries", frames())
    assert (version(store, "queries"), store.count("queries", "kb")) == (before, 1)


ZEROS = "0" * 20
# What a process that is killed in a table's first commit may leave in its log, by the names that the store uses.
UNCOMMITTED = [
    [],
    [f"{ZEROS}.json#1"],
    [f"{ZEROS}.json#2", f"{ZEROS}.json#1"],
    [f"_commit_{ZEROS}.json.tmp"],
    [f"{ZEROS}.checkpoint.parquet#1"],
    ["_last_checkpoint#1"],
    [f"{ZEROS}.crc"],
    ["_commits"],
]


@pytest.mark.parametrize("names", UNCOMMITTED, ids=str)
def test_a_folder_without_a_commit_is_no_table(tmp_path, names):
    store = TableStore(tmp_path)
    log = store.path("queries") / "_delta_log"
    (log.parent / "collection=kb").mkdir(parents=True)
    (log.parent / "collection=kb" / "part-0.parquet").write_bytes(b"half a file")
    log.mkdir()
    for name in names:
        (log / name).write_text("{")
    assert not store.exists("queries")
    assert store.collections("queries") == []
    assert store.read("queries", "kb").height == 0
    assert list(store.batches("queries", "kb")) == []
    assert list(versions(store)) == []
    assert maintain(store, 7) == []
    with pytest.raises(TableError, match="no such table"):
        restore(store, "queries", 0)
    assert store.replace("queries", "kb", make_queries("one"))
    store.append("queries", make_queries("two"))
    assert sorted(TableStore(tmp_path).read("queries", "kb")["text"]) == ["one", "two"]
    assert [each.version for each in versions(store, ["queries"])] == [1, 0]


@pytest.mark.parametrize("left", [b"", b'{"protocol":{"minReaderVersion":1,"minWri'])
@pytest.mark.parametrize("name", [f"{ZEROS}.json", f"{ZEROS}.checkpoint.parquet", "_last_checkpoint"])
def test_damaged_first_commit_is_not_empty(tmp_path, name, left):
    """Its rows may be what nobody can compute again, such as an accepted baseline."""
    store = TableStore(tmp_path)
    log = store.path("quality_baselines") / "_delta_log"
    log.mkdir(parents=True)
    (log / name).write_bytes(left)
    with pytest.raises(TableError, match=r"table 'quality_baselines' .*delete the folder"):
        store.read("quality_baselines", "kb")
