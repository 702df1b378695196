"""Two hosts that change the same tables at the same time: two homes, with nothing in common but the bucket."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable

from embedder_assets.errors import CommitConflictError
from embedder_assets.tables.store import TableStore
from embedder_assets.tables.transaction import TRIES, run_exclusively
from tests.support.factories import make_chunks, make_documents
from tests.support.hosts import LEFT, QUERIES, Change, query, removed, replaced, texts


@pytest.mark.parametrize("second", LEFT)
@pytest.mark.parametrize("first", LEFT)
def test_commits_to_different_collections_do_not_conflict(hosts, first: Change, second: Change):
    here, there = hosts
    for name in ("kb", "other"):
        here.append(QUERIES, query("first", name))
    with here.transaction() as tables:
        assert texts(tables, "kb") == ["first"]
        first(there, "other")
        second(tables, "kb")
    assert (texts(there, "kb"), texts(there, "other")) == (LEFT[second], LEFT[first])


@pytest.mark.parametrize("second", LEFT)
@pytest.mark.parametrize("first", LEFT)
def test_concurrent_commits_are_neither_undone_nor_doubled(hosts, first: Change, second: Change):
    here, there = hosts
    here.append(QUERIES, query("first", "kb"))
    with here.transaction() as tables:
        assert texts(tables, "kb") == ["first"]
        first(there, "kb")
        if first is second and first in (removed, replaced):
            assert not second(tables, "kb"), "it is done already"
        else:
            with pytest.raises(CommitConflictError, match="collection 'kb': expected nobody else to write it"):
                second(tables, "kb")
    assert texts(there, "kb") == LEFT[first]


@pytest.mark.parametrize("name", ["kb", "other"])
def test_concurrently_created_table_keeps_whole_rows(hosts, name):
    here, there = hosts
    with here.transaction() as tables:
        assert not tables.exists(QUERIES)
        there.append(QUERIES, query("theirs", "kb"))
        if name == "kb":
            with pytest.raises(CommitConflictError, match="a table that was not there"):
                tables.append(QUERIES, query("ours", name))
        else:
            tables.append(QUERIES, query("ours", name))
    assert texts(here, "kb") == ["theirs"]
    assert texts(here, "other") == ([] if name == "kb" else ["ours"])


@pytest.mark.parametrize("name", ["kb", "other"])
def test_table_created_meanwhile_is_read(hosts, monkeypatch, name):
    here, there = hosts
    create = DeltaTable.create
    others: list[str] = ["kb"]

    def created(*arguments, **options):
        if others:
            there.append(QUERIES, query("theirs", others.pop()))
        return create(*arguments, **options)

    monkeypatch.setattr(DeltaTable, "create", created)
    attempts: list[list[str]] = []

    def work(tables: TableStore) -> None:
        attempts.append(texts(tables, name))
        if not attempts[-1]:
            tables.append(QUERIES, query("ours", name))

    run_exclusively(here, [name], work)
    assert (texts(here, "kb"), texts(here, "other")) == (["theirs"], [] if name == "kb" else ["ours"])
    assert attempts == ([[], ["theirs"]] if name == "kb" else [[]])


def test_commit_needs_the_newest_inputs(hosts):
    here, there = hosts
    here.append("documents", make_documents(a="old"))
    here.append("documents", make_documents("other", a="old"))
    with here.transaction() as tables:
        assert tables.count("documents", "kb") == 1
        there.replace("documents", "other", make_documents("other", a="new"))
        tables.append("chunks", make_chunks("of the old one"))
        there.replace("documents", "kb", make_documents(a="new"))
        with pytest.raises(CommitConflictError, match=r"'documents'.+a newer version than was read"):
            tables.append("chunks", make_chunks("too late"))
    assert here.read("chunks", "kb")["text"].to_list() == ["of the old one"]


def test_reads_outside_a_transaction_are_not_remembered(hosts):
    here, there = hosts
    here.append(QUERIES, query("first", "kb"))
    with here.transaction():
        assert texts(here, "kb") == ["first"]
        there.append(QUERIES, query("theirs", "kb"))
        here.append(QUERIES, query("ours", "kb"))
    assert texts(there, "kb") == ["first", "ours", "theirs"]


def test_work_that_was_too_late_is_done_again(hosts):
    here, there = hosts
    here.append(QUERIES, query("first", "kb"))
    attempts: list[list[str]] = []

    def work(tables: TableStore) -> None:
        attempts.append(texts(tables, "kb"))
        if len(attempts) == 1:
            there.append(QUERIES, query("theirs", "kb"))
        tables.append(QUERIES, query("ours", "kb"))

    run_exclusively(here, ["kb"], work)
    assert attempts == [["first"], ["first", "theirs"]]
    assert texts(there, "kb") == ["first", "ours", "theirs"]


def test_retries_end_with_an_error(hosts, monkeypatch):
    monkeypatch.setattr("embedder_assets.tables.transaction.LONGEST_WAIT_S", 0.01)
    here, there = hosts
    here.append(QUERIES, query("0", "kb"))
    attempts: list[int] = []

    def work(tables: TableStore) -> None:
        attempts.append(tables.count(QUERIES, "kb"))
        there.append(QUERIES, query(str(len(attempts)), "kb"))
        tables.append(QUERIES, query("ours", "kb"))

    with pytest.raises(CommitConflictError, match="Nothing of this was written"):
        run_exclusively(here, ["kb"], work)
    assert attempts == list(range(1, TRIES + 1))
    assert "ours" not in texts(there, "kb")


COUNTED = 10


def test_two_counting_processes_lose_no_number(url, tmp_path):
    """Each reads the rows and adds the next number: without a conditional put, one would overwrite the other's."""
    _at_once(_count_up, *[(tmp_path / name, url, "kb") for name in ("one", "other")])
    assert texts(TableStore(tmp_path / "one", url), "kb") == sorted(str(number) for number in range(2 * COUNTED))


ROUNDS = 6


def test_concurrent_table_creation_doubles_no_rows(url, tmp_path):
    """Also where both see that it is not there: of the two commits that make it, one counts."""
    for number in range(ROUNDS):
        stores = [TableStore(tmp_path / name, f"{url}/{number}") for name in ("one", "other")]
        with ThreadPoolExecutor(len(stores)) as threads:
            list(threads.map(_fill_once, stores))
        assert texts(stores[0], "kb") == ["once"]


def _fill_once(store: TableStore) -> None:
    def fill(tables: TableStore) -> None:
        if not tables.count(QUERIES, "kb"):
            tables.append(QUERIES, query("once", "kb"))

    run_exclusively(store, ["kb"], fill)


def test_writers_of_different_collections_lose_nothing(url, tmp_path):
    _at_once(_count_up, *[(tmp_path / name, url, name) for name in ("a", "b")])
    for name in ("a", "b"):
        assert texts(TableStore(tmp_path, url), name) == sorted(str(number) for number in range(COUNTED))


def _at_once(target: Callable[..., None], *calls: tuple[object, ...]) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=target, args=arguments) for arguments in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def _count_up(home: Path, url: str, name: str) -> None:
    store = TableStore(home, url)

    def add(tables: TableStore) -> None:
        number = str(tables.count(QUERIES, name))
        new = query(number, name)
        if int(number) % 3:
            tables.append(QUERIES, new)
        else:  # all rows written anew
            tables.overwrite(QUERIES, name, [tables.read(QUERIES, name), new])

    for _ in range(COUNTED):
        run_exclusively(store, [name], add)
