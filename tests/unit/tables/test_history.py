"""Earlier versions of the tables: seen and restored; and several processes that write."""

from __future__ import annotations

import multiprocessing
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from embedder_assets.cli.main import main
from embedder_assets.errors import TableError
from embedder_assets.tables.history import restore, versions
from embedder_assets.tables.locks import collection_lock
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_queries


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path)


def texts(store: TableStore, collection: str = "kb") -> list[str]:
    return sorted(store.read("queries", collection)["text"])


@pytest.fixture
def grown(store) -> TableStore:
    """Four versions of ``queries``: two collections, one of them edited twice."""
    store.replace("queries", "kb", make_queries("one"))
    store.replace("queries", "other", make_queries("bystander", collection="other"))
    store.replace("queries", "kb", make_queries("two"))
    store.replace("queries", "kb", make_queries("three"))
    return store


def test_history_names_operation_and_collection(grown):
    found = list(versions(grown))
    assert [(each.version, each.collection) for each in found] == [(3, "kb"), (2, "kb"), (1, "other"), (0, "kb")]
    assert {each.table for each in found} == {"queries"}
    assert found[-1].added == 1
    assert all(abs((each.at - datetime.now(UTC)).total_seconds()) < 60 for each in found)
    assert len(list(versions(grown, ["queries"], limit=2))) == 2


def test_restore_changes_one_collection_only(grown):
    grown.replace("queries", "other", make_queries("edited", collection="other"))
    assert restore(grown, "queries", 0, "kb") == 0
    assert (texts(grown), texts(grown, "other")) == (["one"], ["edited"])
    assert next(versions(grown)).version == 5


def test_a_whole_version_comes_back(grown):
    restore(grown, "queries", 1)
    assert (texts(grown), texts(grown, "other")) == (["one"], ["bystander"])


def test_restore_can_empty_a_collection(grown):
    restore(grown, "queries", 0, "other")
    assert (texts(grown), grown.collections("queries")) == (["three"], ["kb"])


def test_a_version_is_found_by_its_time(store):
    store.replace("queries", "kb", make_queries("one"))
    time.sleep(0.05)
    between = datetime.now(UTC)
    time.sleep(0.05)
    store.replace("queries", "kb", make_queries("two"))
    assert restore(store, "queries", between) == 0
    assert texts(store) == ["one"]
    with pytest.raises(TableError, match="2020-01-01 00:00:00 UTC or before"):
        restore(store, "queries", datetime(2020, 1, 1, tzinfo=UTC))


def test_unknown_version_lists_the_known_ones(grown):
    with pytest.raises(TableError, match=r"one of: queries, got no such table\. Did you mean 'queries'"):
        list(versions(grown, ["querries"]))
    with pytest.raises(TableError, match=r"version 99 of table 'queries': expected one of 0 .* to 3"):
        restore(grown, "queries", 99)


# Two at once


def test_writers_of_different_collections_lose_nothing(tmp_path):
    """All the ways of writing, also where the table is new."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_rounds, args=(tmp_path, name)) for name in ("a", "b", "c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    for name in ("a", "b", "c"):
        assert texts(TableStore(tmp_path), name) == sorted(["kept", *(f"{name} {n}" for n in range(ROUNDS))])


ROUNDS = 8


def _write_rounds(home: Path, name: str) -> None:
    from embedder_assets.tables import store as module

    store = TableStore(home)
    store.replace("queries", name, make_queries("kept", collection=name))
    for number in range(ROUNDS):
        new = make_queries(f"{name} {number}", collection=name).with_columns(query_id=pl.lit(f"n{number}"))
        passing = make_queries("passing", collection=name).with_columns(query_id=pl.lit("passing"))
        with collection_lock(home, name):
            module.MERGE_ROWS = 0 if number % 2 else 100_000
            store.append("queries", passing)
            store.delete_and_insert("queries", name, new, pl.DataFrame({"query_id": ["passing"]}))
            if number % 4 == 0:
                with store.committing("queries"):
                    store.storage.open("queries").optimize.compact(partition_filters=[("collection", "=", name)])


# The command


def test_the_commands_show_restore_and_remove(grown, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    run = CliRunner().invoke
    shown = run(main, ["tables", "history", "queries", "--limit", "2"])
    assert (shown.exit_code, "kb" in shown.output) == (0, True)
    assert run(main, ["tables", "history", "--json"]).output.count('"operation"') == 4
    assert run(main, ["tables", "restore", "queries"]).exit_code == 2
    restored = run(main, ["tables", "restore", "queries", "--version", "0", "--collection", "kb"])
    assert restored.exit_code == 0, restored.output
    assert "queries of kb is as of version 0 again" in restored.output
    assert texts(grown) == ["one"]
    newest = next(versions(grown, ["queries"])).version
    for options in (["--collection", "kb"], []):
        again = run(main, ["tables", "restore", "queries", "--version", str(newest), *options])
        assert (again.exit_code, "queries is at that version already" in again.output) == (0, True)
    assert next(versions(grown, ["queries"])).version == newest
    assert "queries: 2 files" in run(main, ["tables", "maintain"]).output
    assert run(main, ["tables", "drop", "kb"], input="n\n").exit_code == 1
    assert texts(grown) == ["one"]
    dropped = run(main, ["tables", "drop", "kb", "--yes"])
    assert (dropped.exit_code, "removed: 1 of queries" in dropped.output) == (0, True)
    assert grown.collections("queries") == ["other"]
    wrong = run(main, ["tables", "restore", "querys", "--version", "0"])
    assert (wrong.exit_code, "Did you mean 'queries'" in wrong.output) == (1, True)
