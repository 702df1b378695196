"""Maintenance: small files are joined, old versions forgotten, and work in progress waited for."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from embedder_assets.errors import TableError
from embedder_assets.tables import maintenance
from embedder_assets.tables.history import restore
from embedder_assets.tables.locks import collection_lock
from embedder_assets.tables.maintenance import maintain
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_queries


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


def texts(store: TableStore) -> list[str]:
    return sorted(store.read("queries", "kb")["text"])


def test_maintenance_compacts_without_losing_rows(store):
    for number in range(6):
        store.append("queries", make_queries(f"text {number}"))
    (done,) = maintain(store, history_days=7)
    assert (done.table, done.files_before, done.files_after, done.files_removed) == ("queries", 6, 1, 0)
    assert len(texts(store)) == 6
    restore(store, "queries", 0)
    assert texts(store) == ["text 0"]


def test_maintenance_forgets_what_is_older_than_the_history(store, monkeypatch):
    monkeypatch.setattr(maintenance, "SHORTEST_HOURS", 0)
    for number in range(4):
        store.append("queries", make_queries(f"text {number}"))
    (done,) = maintain(store, history_days=0)
    assert (done.files_removed, done.bytes_removed > 0, len(texts(store))) == (4, True, 4)
    for collection in ("kb", None):
        with pytest.raises(TableError, match="version 0 of table 'queries': expected files that are all there"):
            restore(store, "queries", 0, collection)
    assert len(texts(store)) == 4


def test_maintenance_waits_for_who_works_on_a_collection(store):
    store.append("queries", make_queries("one"))
    with collection_lock(store.home, "kb"):
        other = multiprocessing.get_context("spawn").Process(target=_maintain, args=(store.home,))
        other.start()
        other.join(3)
        assert other.is_alive()
    other.join(60)
    assert other.exitcode == 0


def _maintain(home: Path) -> None:
    maintain(TableStore(home), 7)
