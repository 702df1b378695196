"""Documents read by several processes: in order, within bounds, and one that fails costs no other."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder_assets.corpus.extract import Document, DocumentIssue, file_reader, isolated, read_sources
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.isolated import ExtractorPool
from embedder_assets.errors import DocumentError, SettingsError
from tests.support.corpora import extraction
from tests.support.corpora.extraction import collection

__all__ = ["collection"]
SLOW = b"<p>Some <b>words</b> and <i>more</i>" * 200_000
SLOWISH = b"<p>Some <b>words</b> and <i>more</i>" * 2_000


@pytest.fixture(autouse=True)
def own_slots(monkeypatch):
    """Other tests of this machine have pools too."""
    monkeypatch.setattr(isolated, "SLOTS", f"test-{uuid.uuid4()}")


@pytest.fixture
def limits(collection):
    return lambda **values: extraction.limits(collection, **values)


def pids(pool: ExtractorPool) -> list[int]:
    return [each._worker._process.pid for each in pool._extractors if each._worker]


def until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def submit_all(pool: ExtractorPool, documents: list[bytes]) -> None:
    for number, document in enumerate(documents):
        pool.submit(".html", document, f"kb/{number}")


def take_all(pool: ExtractorPool, count: int) -> Iterator[str]:
    for _ in range(count):
        try:
            yield pool.take().text.strip()
        except DocumentError as error:
            yield error.kind


def test_answers_come_in_the_order_of_submission(limits):
    documents = [SLOWISH if number % 5 == 0 else f"<p>{number}".encode() for number in range(60)]
    with ExtractorPool(limits(), 3) as pool:
        submit_all(pool, documents)
        answers = list(take_all(pool, 60))
        assert len(pids(pool)) > 1
    assert [answer for number, answer in enumerate(answers) if number % 5] == [
        str(number) for number in range(60) if number % 5
    ]


def test_quick_documents_start_one_process(limits, monkeypatch):
    monkeypatch.setattr(isolated, "_GROW_AFTER_S", 30)
    with ExtractorPool(limits(), 64) as pool:
        submit_all(pool, [b"<p>words"] * 20)
        assert list(take_all(pool, 20)) == ["words"] * 20
        assert len(pool._threads) == 1


def test_idle_process_is_joined_by_no_other(limits):
    with ExtractorPool(limits(), 4) as pool:
        for _ in range(8):
            pool.submit(".html", b"<p>words", "kb/a")
            assert pool.take().text == "words\n"
            time.sleep(isolated._GROW_AFTER_S / 4)
        assert len(pool._threads) == 1


def test_process_number_doubles_while_documents_queue(limits):
    with ExtractorPool(limits(), 6) as pool:
        submit_all(pool, [SLOWISH] * 200)
        seen = set()

        def all_started() -> bool:
            pool._grow()
            seen.add(len(pool._threads))
            return len(pool._threads) == 6

        until(all_started)
    assert seen == {1, 2, 4, 6}


def test_quick_answers_hide_no_documents_that_wait(limits):
    """Each answer is there in less time than a document has to wait for another process."""
    with ExtractorPool(limits(), 2) as pool:
        submit_all(pool, [SLOWISH] * 40)
        until(lambda: pool.is_ready)
        list(take_all(pool, 40))
        assert len(pool._extractors) == 2


def test_pools_share_the_cores(limits):
    with ExtractorPool(limits(), 3) as first, ExtractorPool(limits(), 3) as second:
        for pool in (first, second):
            submit_all(pool, [SLOW] * 5)
        for _ in range(3):
            time.sleep(1.2 * isolated._GROW_AFTER_S)
            first._grow()
            second._grow()
        # Each has one in any case; of the others there are two.
        assert len(first._threads) + len(second._threads) == 4


def test_closed_pool_gives_its_slots_back(limits):
    for _ in range(2):
        with ExtractorPool(limits(), 2) as pool:
            submit_all(pool, [SLOWISH] * 50)

            def two_run(pool: ExtractorPool = pool) -> bool:
                pool._grow()
                return len(pool._threads) == 2

            until(two_run)


def test_crash_costs_its_document_while_others_run(limits):
    with ExtractorPool(limits(), 2) as pool:
        submit_all(pool, [SLOW, *[b"<p>words"] * 30])
        until(lambda: pool._grow() or (len(pids(pool)) == 2 and all(job.answer.done() for job in list(pool._jobs)[1:])))
        os.kill(pids(pool)[0], signal.SIGKILL)
        assert list(take_all(pool, 31)) == ["crashed", *["words"] * 30]


def test_slow_document_is_stopped_while_others_run(limits):
    with ExtractorPool(limits(document_timeout_s=2), 2) as pool:
        submit_all(pool, [SLOW, b"<p>words", SLOW, b"<p>more"])
        assert list(take_all(pool, 4)) == ["timed_out", "words", "timed_out", "more"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interrupt_ends_all_processes_at_once(limits, error):
    started: list[int] = []
    with contextlib.suppress(error), ExtractorPool(limits(), 3) as pool:
        submit_all(pool, [SLOW] * 20)

        def three_run() -> bool:
            pool._grow()
            started[:] = pids(pool)
            return len(started) == 3

        until(three_run)
        began = time.monotonic()
        raise error
    assert time.monotonic() - began < 2
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_interrupt_ends_a_process_that_starts(limits):
    with ExtractorPool(limits(), 1) as pool:
        pool.submit(".html", SLOW, "kb/a")
        until(lambda: pids(pool))
        (pid,) = pids(pool)
    assert not Path(f"/proc/{pid}").exists()


def test_failed_start_stops_the_owner(limits, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named lxml' >&2\nexit 1\n", "utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(isolated.sys, "executable", str(python))
    with ExtractorPool(limits(), 2) as pool, pytest.raises(SettingsError, match="No module named lxml"):
        pool.submit(".html", b"<p>words", "kb/a")
        pool.take()


def test_answers_wait_outside_until_there_is_room(limits):
    with ExtractorPool(limits(document_timeout_s=2), 2) as pool:
        pool._most_bytes = 0
        submit_all(pool, [SLOW, b"<p>words"])
        slow, other = pool._jobs
        until(lambda: pool._grow() or (slow.answer.done() and len(pids(pool)) > 0))
        # It waits for longer than a document may take, which is not held against it.
        time.sleep(2.5)
        assert not other.answer.done()
        assert list(take_all(pool, 2)) == ["timed_out", "words"]
        assert pool._held == 0


def test_files_behind_a_slow_one_are_bounded(collection, limits, monkeypatch):
    monkeypatch.setattr(file_reader, "MOST_PENDING", 10)
    (collection.root / "a.html").write_bytes(SLOW)
    for number in range(100):
        (collection.root / f"b{number:03}.html").write_text("<p>words")
    opened: list[str] = []
    plain = file_reader.read_bytes
    monkeypatch.setattr(file_reader, "read_bytes", lambda *values: (opened.append(values[2]), plain(*values))[1])
    sources = read_sources(collection, limits(document_timeout_s=1, max_document_mb=20))
    _, first = next(sources)
    assert isinstance(first, DocumentIssue)
    assert (first.path, first.kind) == ("a.html", "timed_out")
    assert len(opened) <= 11
    assert len(list(sources)) == 100


def test_bytes_behind_a_slow_one_are_bounded(collection, limits, monkeypatch):
    monkeypatch.setattr(isolated, "_WAITING_BYTES", 0)
    (collection.root / "a.html").write_bytes(SLOW)
    for number in range(20):
        (collection.root / f"b{number:03}.html").write_text("<p>" + "words " * 200_000)
    opened: list[int] = []
    plain = file_reader.read_bytes

    def counted(*values) -> bytes:
        data = plain(*values)
        opened.append(len(data))
        return data

    monkeypatch.setattr(file_reader, "read_bytes", counted)
    given = limits(document_timeout_s=1, max_document_mb=8)
    sources = read_sources(collection, given)
    next(sources)
    assert sum(opened) <= isolated.cores() * given.document_bytes + opened[-1]
    assert len(list(sources)) == 20


# Text


@pytest.fixture
def own_threads(monkeypatch):
    """Which documents were read in another process."""
    submitted: list[str] = []
    plain = ExtractorPool.submit

    def submit(pool: ExtractorPool, suffix: str, data: bytes, thing: str) -> None:
        submitted.append(thing)
        plain(pool, suffix, data, thing)

    monkeypatch.setattr(ExtractorPool, "submit", submit)
    monkeypatch.setattr(isolated, "cores", lambda: 2)
    return submitted


def write_text(collection, count: int) -> None:
    for number in range(count):
        (collection.root / f"{number:03}.md").write_text(f"# Title {number}\n\n" + "Words and more.\n\n" * 50)


def test_little_text_starts_no_process(collection, limits, own_threads):
    write_text(collection, 5)
    assert len(list(read_sources(collection, limits()))) == 5
    assert own_threads == []


def test_much_text_is_shared_out_and_the_same(collection, limits, own_threads, monkeypatch):
    write_text(collection, 40)
    monkeypatch.setattr(file_reader, "TEXT_HERE_S", 1000)
    here = list(read_sources(collection, limits()))
    assert own_threads == []
    monkeypatch.setattr(file_reader, "TEXT_HERE_S", 0)
    assert list(read_sources(collection, limits())) == here
    assert len(own_threads) == 40


def test_text_that_another_process_fails_on_is_read_here(collection, limits, own_threads, monkeypatch):
    write_text(collection, 3)
    monkeypatch.setattr(file_reader, "TEXT_HERE_S", 0)
    given = limits(document_timeout_s=0.000001)
    assert [type(item) for _, item in read_sources(collection, given)] == [Document] * 3
    assert len(own_threads) == 3


def test_progress_has_documents_and_pages(collection, limits, monkeypatch):
    monkeypatch.setattr(ExtractorPool, "submit", lambda *_: None)
    monkeypatch.setattr(ExtractorPool, "is_ready", True)
    monkeypatch.setattr(ExtractorPool, "take", lambda _: Extracted("words\n", pages=(0, 3)))
    for name in ("a.pdf", "b.pdf", "c.md"):
        (collection.root / name).write_text("words")
    seen: list[tuple[int, int, int]] = []
    list(read_sources(collection, limits(), progress=lambda *state: seen.append(state)))
    assert seen == [(1, 3, 2), (2, 3, 4), (3, 3, 4)]
