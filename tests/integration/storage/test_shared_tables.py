"""Tables in a bucket that several hosts write: two homes stand for two hosts, with nothing in common but the bucket."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from embedder_assets.drop_collection import drop_collection
from embedder_assets.errors import StorageError, TableError
from embedder_assets.tables import s3_storage
from embedder_assets.tables import store as store_module
from embedder_assets.tables.digest_ranges import equal_ranges
from embedder_assets.tables.history import restore, versions
from embedder_assets.tables.maintenance import maintain
from embedder_assets.tables.object_store import open_bucket
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import Staging
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_chunks
from tests.support.hosts import LEFT, QUERIES, query, texts
from tests.support.processes import free_port
from tests.support.servers.object_store import BUCKET, READER, READER_SECRET, SECRET, running

# One host


@pytest.mark.parametrize("name", ["kb", "it's é/ü %41 [x] a=b"])
def test_rows_are_written_read_and_removed(hosts, name):
    here, there = hosts
    assert (here.exists(QUERIES), here.collections(QUERIES), here.read(QUERIES, name).height) == (False, [], 0)
    for change, left in LEFT.items():
        here.replace(QUERIES, name, query("first", name))
        here.replace(QUERIES, "bystander", query("stays", "bystander"))
        change(here, name)
        assert (texts(here, name), texts(there, name), texts(there, "bystander")) == (left, left, ["stays"])


def test_the_same_rows_make_no_commit(hosts):
    here, _ = hosts
    assert here.replace(QUERIES, "kb", query("a", "kb"))
    before = here.newest(QUERIES).version()
    assert not here.replace(QUERIES, "kb", query("a", "kb"))
    here.append(QUERIES, [])
    here.delete_and_insert(QUERIES, "kb", [], query("none", "kb").clear().select("query_id"))
    assert here.newest(QUERIES).version() == before


def test_a_table_without_rows_is_there(hosts):
    here, there = hosts
    here.replace("document_issues", "kb", pl.DataFrame(schema=store_module.SCHEMAS["document_issues"]))
    assert there.exists("document_issues")
    assert there.count("document_issues", "kb") == 0


def test_history_maintenance_and_removal(hosts):
    here, there = hosts
    for text in ("a", "b", "c"):
        here.append(QUERIES, query(text, "kb"))
    here.append(QUERIES, query("stays", "other"))
    first = [each.version for each in versions(there, [QUERIES]) if each.collection == "kb"][-1]
    restore(there, QUERIES, first, "kb")
    assert (texts(here, "kb"), texts(here, "other")) == (["a"], ["stays"])
    restore(there, QUERIES, first + 1)
    assert (texts(here, "kb"), texts(here, "other")) == (["a", "b"], [])
    (done,) = maintain(there, history_days=7)
    assert (done.files_before, done.files_after, done.bytes_removed) == (2, 1, None)
    assert texts(here, "kb") == ["a", "b"]
    assert drop_collection(there, "kb") == {QUERIES: 2}
    assert here.collections(QUERIES) == []


# Staged rows

CHUNKS = "chunks"
TEXT = {"text": pl.String()}


def staged(store: TableStore, collection: str = "kb", fingerprint: str = "f1") -> Staging:
    return store.staging(CHUNKS, collection, fingerprint)


@pytest.mark.parametrize("name", ["kb", "it's é/ü %41 [x] a=b~c"])
def test_hosts_share_staged_rows(hosts, name):
    here, there = (staged(host, name) for host in hosts)
    assert here.read(SCHEMAS[CHUNKS]).schema == SCHEMAS[CHUNKS]
    rows = make_chunks(*[f"text {number}" for number in range(20)], collection=name)
    ranges = equal_ranges(4)
    for part in ranges:
        here.append(rows.filter(part.rows))
    for part in ranges:
        assert set(there.read(TEXT, part)["text"]) == set(rows.filter(part.rows)["text"])
    whole = pl.concat(there.frames(SCHEMAS[CHUNKS]))
    assert_frame_equal(whole, rows, check_row_order=False)
    there.clear()
    assert not here.read(TEXT).height


def test_staged_rows_are_separate_per_model_and_collection(hosts):
    here, there = hosts
    for own in [("kb", "f1"), ("kb", "f2"), ("other", "f1")]:
        staged(here, *own).append(make_chunks(" ".join(own)))
    assert staged(there, "kb", "f2").read(TEXT)["text"].to_list() == ["kb f2"]
    staged(there, "kb", "f1").clear()
    here.delete_staged("other")
    assert [staged(here, *own).read(TEXT).height for own in [("kb", "f1"), ("kb", "f2"), ("other", "f1")]] == [0, 1, 0]


def test_staged_objects_expire_after_a_week(hosts, monkeypatch):
    here, there = hosts
    staged(here).append(make_chunks("one"))
    there.delete_staged()
    assert staged(there).read(TEXT).height == 1
    monkeypatch.setattr(s3_storage, "KEPT_DAYS", 0)
    there.delete_staged()
    assert not staged(here).read(TEXT).height


def test_only_the_unreadable_staged_object_is_dropped(hosts):
    here, there = hosts
    staged(here).append(make_chunks("one"))
    prefix = staged(here).address.removeprefix(f"s3://{BUCKET}/")
    obstore.put(open_bucket(f"s3://{BUCKET}"), f"{prefix}/torn.parquet", b"PAR1 and nothing more")
    assert [staged(there).read(TEXT)["text"].to_list() for _ in range(2)] == [["one"], ["one"]]
    assert len(list(obstore.list(open_bucket(f"s3://{BUCKET}"), prefix=prefix).collect())) == 1


def test_store_outage_drops_nothing_staged(hosts, monkeypatch):
    here, there = hosts
    staged(here).append(make_chunks("one"))
    # Polars keeps a connection with its credentials for a bucket, so a reader is given others.
    monkeypatch.setitem(there.storage.reading, "aws_secret_access_key", "wrong-secret")
    with pytest.raises(StorageError, match="staged rows at s3://"):
        staged(there).read(TEXT)
    monkeypatch.delitem(there.storage.reading, "aws_secret_access_key")
    with monkeypatch.context() as patched:
        patched.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        with pytest.raises(StorageError, match=r"staged rows .*Correct AWS_ACCESS_KEY_ID"):
            staged(there).append(make_chunks("two"))
    assert staged(there).read(TEXT)["text"].to_list() == ["one"]


# What goes wrong


def test_a_writer_that_is_killed_leaves_nothing_half(hosts, url, tmp_path):
    here, _ = hosts
    here.append(QUERIES, query("first", "kb"))
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    writer = context.Process(target=_write_without_end, args=(tmp_path / "killed", url, begun))
    writer.start()
    assert begun.wait(60)
    writer.kill()
    writer.join(30)
    assert writer.exitcode == -signal.SIGKILL
    assert texts(here, "kb") == ["first"]
    here.delete_and_insert(QUERIES, "kb", query("next", "kb"), pl.DataFrame({"query_id": ["first"]}))
    maintain(here, history_days=0)
    assert texts(here, "kb") == ["next"]


def _write_without_end(home: Path, url: str, begun: threading.Event) -> None:
    def frames() -> Iterator[pl.DataFrame]:
        yield query("half", "kb")
        yield query("of it", "kb")
        begun.set()
        time.sleep(600)

    TableStore(home, url).overwrite(QUERIES, "kb", frames())


@pytest.mark.parametrize(
    ("variable", "value", "said", "remedy"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "SignatureDoesNotMatch", "Correct AWS_ACCESS_KEY_ID"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId", "Correct AWS_ACCESS_KEY_ID"),
        ("AWS_ENDPOINT_URL", None, "Connection refused", "Check that the server at AWS_ENDPOINT_URL answers"),
    ],
)
def test_unauthorized_access_is_reported(url, tmp_path, monkeypatch, variable, value, said, remedy):
    TableStore(tmp_path, url).append(QUERIES, query("first", "kb"))
    opened = TableStore(tmp_path, url)
    assert texts(opened, "kb") == ["first"]
    monkeypatch.setenv(variable, value or f"http://127.0.0.1:{free_port()}")
    fresh = TableStore(tmp_path, url)
    for use in (
        fresh.check_access,
        lambda: fresh.read(QUERIES, "kb"),
        lambda: fresh.append(QUERIES, query("second", "kb")),
    ):
        with pytest.raises(StorageError, match=said) as caught:
            use()
        assert caught.value.remedy.startswith(remedy)
        assert not any(secret in str(caught.value) for secret in ("wrong-secret", SECRET))


def test_a_bucket_that_is_not_there_is_named(url, tmp_path):
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/rag: .*NoSuchBucket.*Make the bucket"):
        TableStore(tmp_path, "s3://no-such-bucket/rag").check_access()


def test_read_only_access_fails_at_first_commit(url, tmp_path, monkeypatch):
    TableStore(tmp_path, url).append(QUERIES, query("first", "kb"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    store = TableStore(tmp_path, url)
    assert texts(store, "kb") == ["first"]
    with pytest.raises(StorageError, match=r"AccessDenied.*Correct AWS_ACCESS_KEY_ID"):
        store.append(QUERIES, query("second", "kb"))


def test_missing_data_file_is_a_table_error(hosts, object_store):
    here, there = hosts
    here.append(QUERIES, query("first", "kb"))
    (file,) = here.newest(QUERIES).file_uris()
    object_store.delete(file.removeprefix(f"s3://{BUCKET}/"))
    with pytest.raises(TableError, match="expected readable Delta Lake files") as caught:
        there.read(QUERIES, "kb")
    assert not isinstance(caught.value, StorageError)
    assert "embedder tables restore queries" in caught.value.remedy


def test_returning_store_has_all_commits(tmp_path, monkeypatch):
    """Of a server of its own, which is killed."""
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server") as server:
        server.known_to(monkeypatch)
        store = TableStore(tmp_path / "home", f"s3://{BUCKET}/rag")
        store.append(QUERIES, query("first", "kb"))
        server.stop()
        with pytest.raises(StorageError, match="Check that the server at AWS_ENDPOINT_URL answers"):
            store.append(QUERIES, query("lost", "kb"))
        server.start()
        assert texts(store, "kb") == ["first"]
        store.append(QUERIES, query("second", "kb"))
        assert texts(TableStore(tmp_path / "other", f"s3://{BUCKET}/rag"), "kb") == ["first", "second"]
