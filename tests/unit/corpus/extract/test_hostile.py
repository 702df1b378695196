"""Documents that mean harm: each becomes an issue or text as it is, nothing crashes or hangs, and the others go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import polars as pl
import pytest

from embedder_assets.chunking.stage import ChunkStage
from embedder_assets.cli.display import show_hits
from embedder_assets.corpus import deletion_guard
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.document import NOTICES
from embedder_assets.corpus.extract import DocumentLimits, isolated
from embedder_assets.corpus.extract import limits as constants
from embedder_assets.corpus.extract.isolated import IsolatedExtractor
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.corpus.partial_documents import PARTIAL
from embedder_assets.corpus.queries import load_qrels, load_queries
from embedder_assets.errors import CorpusError, DocumentError, SettingsError
from embedder_assets.retrieval.search import Hit
from embedder_assets.tables.store import TableStore
from tests.conftest import PROJECT
from tests.support.checkpoints import write_tokenizer
from tests.support.corpora import hostile
from tests.support.factories import make_meter, make_settings

GOOD = "# A good document\n\nIt has something to say.\n"
SLOW = "<p>Some <b>words</b> and <i>more</i>\n" * 60_000


@pytest.fixture
def kb(tmp_path) -> Collection:
    root = tmp_path / "corpus" / "kb"
    root.mkdir(parents=True)
    return Collection("kb", root, recursive=True)


@pytest.fixture
def store(tmp_path) -> TableStore:
    return TableStore(tmp_path / "home")


@pytest.fixture
def read(tmp_path, store, kb, monkeypatch):
    monkeypatch.setattr(deletion_guard, "MAX_UNUSABLE_SHARE", 1)

    def read(**values):
        return Ingest(store, make_settings(tmp_path / "home", **values), kb).run()

    return read


@pytest.fixture
def limits(tmp_path):
    return lambda **values: DocumentLimits.of(make_settings(tmp_path / "home", **values))


def issues(store: TableStore) -> dict[str, str]:
    """The kind of issue of each document that is left out, and of each that lacks a part."""
    found = store.read("document_issues", "kb").filter(
        (pl.col("kind") == PARTIAL) | ~pl.col("kind").is_in(list(NOTICES))
    )
    return dict(found.select("path", "kind").iter_rows())


@pytest.fixture(scope="module")
def ingested(tmp_path_factory) -> Path:
    """A home whose tables have met every hostile document and two good ones."""
    root = tmp_path_factory.mktemp("hostile")
    folder = root / "corpus" / "kb"
    folder.mkdir(parents=True)
    for document in hostile.DOCUMENTS:
        document.write(folder / document.name)
    for name in ("a.md", "z.md"):
        (folder / name).write_text(GOOD, "utf-8")
    settings = make_settings(root / "home")
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion_guard, "MAX_UNUSABLE_SHARE", 1)
        Ingest(TableStore(settings.home), settings, Collection("kb", folder, recursive=True)).run()
    assert time.monotonic() - started < 60
    return settings.home


def test_hostile_documents_are_named_and_others_chunked(ingested, tmp_path):
    store = TableStore(ingested)
    expected = {document.name: document.becomes for document in hostile.DOCUMENTS}
    taken = {name for name, becomes in expected.items() if becomes in (hostile.AS_IT_IS, hostile.PARTIAL)}
    found = issues(store)
    refused = {name: kind for name, kind in found.items() if kind != PARTIAL}
    assert refused == {name: kind for name, kind in expected.items() if name not in taken}
    assert {name for name, becomes in expected.items() if becomes == hostile.PARTIAL} <= {*found} - {*refused}
    texts = dict(store.read("documents", "kb").select("doc_id", "text").iter_rows())
    assert texts.keys() == {*taken, "a.md", "z.md"}
    assert [name for name, text in texts.items() if hostile.PASSWORDS in text] == []
    write_tokenizer(tmp_path / "tokenizer.json")
    chunking = ChunkStage(store, tmp_path / "tokenizer.json", 32)
    chunking.run("kb", make_meter("chunk"))
    assert set(store.read("chunks", "kb")["doc_id"]) == texts.keys()


def test_every_limit_that_refused_a_document_is_named(ingested):
    refused = TableStore(ingested).read("document_issues", "kb").filter(pl.col("kind").str.starts_with("too_"))
    messages = dict(refused.select("path", "message").iter_rows())
    named = {path: re.search("expected (?:a file of )?at most (.*), got", said)[1] for path, said in messages.items()}
    levels, marks = "500 levels of nesting", "50 block quotes and lists in each other"
    assert named == {
        **dict.fromkeys(
            ("bomb.docx", "bomb.epub", "bomb.odt", "bomb.pptx", "bomb.xlsx"), "200 times its size when unpacked"
        ),
        "huge.docx": "200 MB when unpacked",
        "cells.ods": "5,000,000 cells that are merged or repeat each other",
        "cells.odt": "100,000 rows and cells that repeat each other",
        "strings.xlsx": "20,000,000 characters of text",
        **dict.fromkeys(("deep.docx", "deep.odt", "deep.pptx", "deep.rtf"), levels),
        "deep.html": levels,
        "spans.html": "20,000,000 characters of text",
        "lists.html": "20,000,000 characters of text",
        "deep.rst": levels,
        "quoting.html": marks,
        "quotes.md": marks,
        "lists.md": marks,
        "one_character.txt": "20 MB",
        "pages.pdf": "20,000 pages",
        "columns.csv": "16,384 columns",
        "sparse.csv": "20,000,000 characters of text",
        "levels.json": "100 levels of nesting",
        "paths.json": "20,000,000 characters of text",
    }
    settings = {path for path, said in messages.items() if "EMBEDDER_MAX_DOCUMENT_MB" in said}
    assert settings == {"one_character.txt"}


def test_hostile_rows_are_named_by_line(read, store, kb):
    rows = hostile.rows()
    with (kb.root / "corpus.jsonl").open("wb") as file:
        file.writelines(line + b"\n" for _, line in rows.values())
    read()
    expected = {f"corpus.jsonl:{number}": kind for number, (kind, _) in rows.items() if kind != hostile.AS_IT_IS}
    assert issues(store) == expected
    assert set(store.read("documents", "kb")["doc_id"]) == {"first", "last"}


@pytest.mark.parametrize(("name", "load"), [("queries.jsonl", load_queries), ("qrels.tsv", load_qrels)])
def test_pipe_instead_of_queries_is_not_waited_for(kb, name, load):
    os.mkfifo(kb.root / name)
    with pytest.raises(CorpusError, match=f"{name}: .*got a pipe"):
        load(kb)


def test_raised_limit_rereads_refused_documents(read, store, kb, monkeypatch):
    (kb.root / "a.md").write_text(">" * 60 + " x", "utf-8")
    assert read().issues.height == 1
    first = store.read("document_issues", "kb")
    read()
    assert store.read("document_issues", "kb").equals(first)
    monkeypatch.setattr(constants, "MAX_MARKDOWN_NESTING", 60)
    assert read().rows == 1
    assert issues(store) == {}


def test_markdown_with_quadratic_parsing_is_refused(read, store, kb, monkeypatch):
    monkeypatch.setattr(constants, "MAX_MARKDOWN_STEPS", 100_000)
    (kb.root / "a.md").write_text(">>\nwords\n" * 2000, "utf-8")
    (kb.root / "c.md").write_text(GOOD * 1000, "utf-8")
    started = time.monotonic()
    read()
    assert time.monotonic() - started < 20
    assert issues(store) == {"a.md": "too_complex"}
    assert "at most 100,000 steps" in store.read("document_issues", "kb")["message"][0]
    assert "c.md" in set(store.read("documents", "kb")["doc_id"])


def test_too_much_text_stops_the_pages(read, store, kb, monkeypatch):
    monkeypatch.setattr(constants, "MAX_TEXT_CHARS", 50)
    (kb.root / "a.txt").write_text("words " * 10, "utf-8")
    (kb.root / "b.pdf").write_bytes(hostile.pdf("words " * 10))
    read()
    assert issues(store) == {"a.txt": "too_long", "b.pdf": "too_long"}


def test_document_text_cannot_steer_the_terminal(capsys):
    said = "words \x1b]0;title\x07 \x9b2J [bold]more"
    values = {"str": said, "Mapping[str, object]": {said: said}}
    hit = Hit(*(values.get(field, 1) for field in Hit.__annotations__.values()))
    show_hits([hit], "words")
    shown = capsys.readouterr().out
    assert "[bold]more" in shown
    assert [character for character in shown if character < " " and character != "\n"] == []
    assert "\x9b" not in shown


# The process that reads documents


def test_nothing_to_extract_starts_no_process(read, kb, monkeypatch):
    (kb.root / "a.html").write_text("<p>words", "utf-8")
    (kb.root / "bad.pdf").write_bytes(b"no pdf")
    read()
    monkeypatch.setattr(isolated, "_Worker", lambda _: pytest.fail("a process was started"))
    (kb.root / "b.md").write_text(GOOD, "utf-8")
    assert (read().rows, read().issues.height) == (2, 1)


def test_slow_document_is_stopped_and_next_read(read, store, kb):
    (kb.root / "a.html").write_text(SLOW, "utf-8")
    (kb.root / "b.html").write_text("<p>words", "utf-8")
    read(document_timeout_s=1)
    assert issues(store) == {"a.html": "timed_out"}
    assert "EMBEDDER_DOCUMENT_TIMEOUT_S" in store.read("document_issues", "kb")["message"][0]
    assert list(store.read("documents", "kb")["doc_id"]) == ["b.html"]


def test_document_over_memory_limit_is_named(limits, monkeypatch):
    monkeypatch.setattr(constants, "MEMORY_BYTES", 512_000_000)
    with IsolatedExtractor(limits()) as extractor:
        with pytest.raises(DocumentError, match="within 512 MB of memory") as refused:
            extractor.extract(".html", bytes(450_000_000), "kb/a.html")
        assert refused.value.kind == "out_of_memory"
        assert extractor.extract(".html", b"<p>words", "kb/b.html").text == "words\n"


@pytest.mark.parametrize("end", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_costs_its_document_alone(limits, end, monkeypatch):
    with IsolatedExtractor(limits()) as extractor:
        ending = _end_when_reading(extractor, end, monkeypatch)
        with pytest.raises(DocumentError, match=rf"status -{end}\b") as crashed:
            extractor.extract(".html", SLOW.encode(), "kb/a.html")
        ending.join()
        assert crashed.value.kind == "crashed"
        assert extractor.extract(".html", b"<p>words", "kb/b.html").text == "words\n"


def test_crash_is_retried_in_a_new_process(limits):
    with IsolatedExtractor(limits()) as extractor:
        extractor.extract(".html", b"<p>words", "kb/a.html")
        os.kill(extractor._worker._process.pid, signal.SIGKILL)
        assert extractor.extract(".html", b"<p>words", "kb/b.html").text == "words\n"


def _end_when_reading(extractor: IsolatedExtractor, end: signal.Signals, patched: pytest.MonkeyPatch) -> Thread:
    reading, read = Event(), isolated._Worker.read

    def signalling(worker: isolated._Worker, *document: Any) -> dict[str, str]:
        reading.set()
        return read(worker, *document)

    def wait_and_end() -> None:
        reading.wait()
        os.kill(extractor._worker._process.pid, end)

    patched.setattr(isolated._Worker, "read", signalling)
    thread = Thread(target=wait_and_end)
    thread.start()
    return thread


def test_process_has_no_secrets_and_writes_nothing(limits, monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "secret")
    with IsolatedExtractor(limits()) as extractor:
        extractor.extract(".html", b"<p>words", "kb/a.html")
        process = Path(f"/proc/{extractor._worker._process.pid}")
        assert b"secret" not in (process / "environ").read_bytes()
        allowed = (process / "limits").read_text("utf-8")
        assert [line.split()[3:5] for line in allowed.splitlines() if line.startswith("Max file size")] == [["0", "0"]]
    assert not process.exists()


def test_failed_worker_start_stops_the_run(limits, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named embedder_assets' >&2\nexit 1\n", "utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with IsolatedExtractor(limits()) as extractor, pytest.raises(SettingsError, match="No module named"):
        extractor.extract(".html", b"<p>words", "kb/a.html")


KILLED = """
import os, sys, threading, time
from pathlib import Path
from embedder_assets.settings import load_settings
from embedder_assets.corpus.extract import DocumentLimits
from embedder_assets.corpus.extract.isolated import IsolatedExtractor
extractor = IsolatedExtractor(DocumentLimits.of(load_settings({"document_timeout_s": (2, "test")}, environ={})))
extractor.extract(".html", b"<p>words", "a")
print(extractor._worker._process.pid, flush=True)
extractor.extract(".html", b"<p>Some <b>words</b> and <i>more</i>" * 200_000, "b")
"""


def test_killed_run_leaves_no_worker_process():
    run = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    reader = Path(f"/proc/{int(run.stdout.readline())}")
    time.sleep(0.3)
    run.kill()
    run.wait()
    assert reader.exists()
    deadline = time.monotonic() + 30
    while reader.exists() and (reader / "stat").read_text("utf-8").split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.1)
