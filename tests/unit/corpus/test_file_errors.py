"""Whatever goes wrong with a file or folder: no row goes, and everything that was not read is an issue."""

from __future__ import annotations

import errno
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from embedder_assets.corpus.collections import Collection, discover_collections
from embedder_assets.corpus.file_digest import files_digest
from embedder_assets.corpus.ingest import Ingest
from embedder_assets.corpus.queries import load_qrels, load_queries
from embedder_assets.errors import CorpusError, EmbedderError
from embedder_assets.tables.store import TableStore
from tests.support.corpora.deep import nest
from tests.support.factories import make_settings

ERRORS = [errno.EACCES, errno.EIO, errno.ENAMETOOLONG, errno.ESTALE, errno.ELOOP]
CALLS = ["open", "stat", "lstat", "readlink", "listdir", "fstat"]
SEEDS = range(40)
QUERIES = [f"question {number}" for number in range(3)]


class Faults:
    """Makes calls about a folder fail at random.

    Args:
        folder: The folder.
        seed: Decides which calls fail, and how.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = str(folder)
        self._random = random.Random(seed)
        self._share = self._random.choice([0.01, 0.05, 0.3])
        self._readlink = os.readlink
        self.raised = 0

    def install(self, patched: pytest.MonkeyPatch) -> None:
        """Lets every function of ``os`` that the stage may call fail, and files while they are read."""
        for name in CALLS:
            patched.setattr(os, name, self._failing(getattr(os, name)))
        access, scandir, fdopen, io_open = os.access, os.scandir, os.fdopen, io.open
        patched.setattr(
            os,
            "access",
            lambda path, *more, **options: not self._falls(path, options) and access(path, *more, **options),
        )
        patched.setattr(os, "scandir", lambda path=".": _FaultyEntries(self, path, scandir(path)))
        patched.setattr(os, "fdopen", lambda *args: _FaultyFile(self, args[0], fdopen(*args)))
        patched.setattr(
            io,
            "open",
            lambda path, *args, **options: _FaultyFile(self, path, self._failing(io_open)(path, *args, **options)),
        )

    def maybe(self, path: Any, options: dict[str, Any] | None = None) -> None:
        """Raises where it is a path, or a descriptor, of the folder, and the dice say so."""
        if self._falls(path, options or {}):
            raise OSError(self._random.choice(ERRORS), "played", str(path))

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(path: Any, *more: Any, **options: Any) -> Any:
            self.maybe(path, options)
            return call(path, *more, **options)

        return failing

    def _falls(self, path: Any, options: dict[str, Any]) -> bool:
        falls = self._concerns(path, options.get("dir_fd")) and self._random.random() < self._share
        self.raised += falls
        return falls

    def _concerns(self, path: Any, dir_fd: int | None) -> bool:
        place = dir_fd if dir_fd is not None else path
        if isinstance(place, int):
            place = f"/proc/self/fd/{place}"
        text = os.fsdecode(place)
        if text.startswith("/proc/self/fd/"):
            try:
                text = self._readlink(text)
            except OSError as error:
                return error.errno == errno.ENAMETOOLONG
        return text.startswith(self._folder)


class _FaultyEntries:
    def __init__(self, faults: Faults, folder: Any, entries: Any) -> None:
        self._faults, self._folder, self._entries = faults, folder, entries
        faults.maybe(folder)

    def __enter__(self) -> _FaultyEntries:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def __iter__(self) -> Iterator[Any]:
        for entry in self._entries:
            self._faults.maybe(self._folder)
            yield _FaultyEntry(self._faults, self._folder, entry)


class _FaultyEntry:
    """What the system does where a file system does not tell the kinds of its entries."""

    def __init__(self, faults: Faults, folder: Any, entry: os.DirEntry[str]) -> None:
        self._faults, self._folder, self._entry = faults, folder, entry
        self.name, self.path = entry.name, entry.path

    def is_symlink(self) -> bool:
        self._faults.maybe(self._folder)
        return self._entry.is_symlink()

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        self._faults.maybe(self._folder)
        return self._entry.is_dir(follow_symlinks=follow_symlinks)


class _FaultyFile:
    def __init__(self, faults: Faults, place: Any, file: Any) -> None:
        self._faults, self._place, self._file = faults, place, file

    def __enter__(self) -> _FaultyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("read"):
            self._faults.maybe(self._place)
        return getattr(self._file, name)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two collections: folders in each other, some of them deep, and a BEIR one."""
    root = tmp_path / "corpus"
    for folder in ("kb/one/two", "kb/three", "shelf", "rows"):
        (root / folder).mkdir(parents=True)
    (root / "kb" / "link").symlink_to("../shelf")
    (root / "kb" / "link.md").symlink_to("../shelf/linked.md")
    (root / "rows" / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": text, "text": text}) + "\n" for text in QUERIES), "utf-8"
    )
    (root / "rows" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nquestion 1\tr1\t1\n", "utf-8")
    os.close(nest(root / "kb" / "three", 30, ["deep.md"]))
    return root


def edit(corpus: Path, version: str) -> None:
    """Gives every document but the deep one another text."""
    for name in ("kb/a.md", "kb/one/b.txt", "kb/one/two/c.md", "kb/three/d.md", "shelf/linked.md"):
        (corpus / name).write_text(f"# {name}\n\n{version}\n", "utf-8")
    rows = [json.dumps({"_id": f"r{number}", "text": f"{version} {number}"}) for number in range(6)]
    (corpus / "rows" / "corpus.jsonl").write_text("\n".join(rows) + "\n", "utf-8")


def texts(store: TableStore, name: str) -> dict[str, str]:
    return dict(store.read("documents", name, ["doc_id", "text"]).iter_rows())


def covering(doc_id: str, issues: set[str], *, beir: bool) -> bool:
    """Whether an issue is about a document, a folder that it is in, or the file that it is a row of."""
    parents = [doc_id[:end] for end, character in enumerate(doc_id) if character == "/"]
    return not issues.isdisjoint({doc_id, ".", *parents}) or (beir and bool(issues))


def test_errors_delete_no_row_and_are_issues(corpus, tmp_path):
    store, settings = TableStore(tmp_path / "home"), make_settings(tmp_path / "home")
    collections = [Collection(name, corpus / name, recursive=True) for name in ("kb", "rows")]
    edit(corpus, "before")
    for collection in collections:
        assert Ingest(store, settings, collection).run().issues.height == 0
    everything = {name: set(texts(store, name)) for name in ("kb", "rows")}
    assert {name: len(ids) for name, ids in everything.items()} == {"kb": 7, "rows": 6}
    met = stopped = 0
    for seed in SEEDS:
        edit(corpus, f"version {seed}")
        for collection in collections:
            name, beir, before = collection.name, collection.name == "rows", texts(store, collection.name)
            faults = Faults(corpus, seed)
            with pytest.MonkeyPatch.context() as patched:
                faults.install(patched)
                try:
                    Ingest(store, settings, collection).run()
                except EmbedderError:
                    stopped += 1
                    assert texts(store, name) == before, f"seed {seed}"
                    continue
            after = texts(store, name)
            assert after.keys() == everything[name], f"seed {seed}"
            issues = set(store.read("document_issues", name)["path"])
            met += bool(faults.raised)
            old = [doc_id for doc_id, text in after.items() if f"version {seed}" not in text and "deep" not in doc_id]
            assert [doc_id for doc_id in old if not covering(doc_id, issues, beir=beir)] == [], f"seed {seed}"
    assert met > len(SEEDS) / 2
    assert stopped < met
    for collection in collections:
        assert Ingest(store, settings, collection).run().issues.height == 0
        assert all(
            f"version {seed}" in text for doc_id, text in texts(store, collection.name).items() if "deep" not in doc_id
        )


def test_faults_never_give_partial_reads(corpus):
    edit(corpus, "text")
    names = {collection.name for collection in discover_collections(corpus)}
    (corpus / "rows" / "qrels.tsv").rename(corpus / "judged.tsv")
    (corpus / "rows" / "qrels.tsv").symlink_to("../judged.tsv")
    rows = Collection("rows", corpus / "rows", recursive=True)
    whole = 0
    for seed in range(200):
        with pytest.MonkeyPatch.context() as patched:
            Faults(corpus, seed).install(patched)
            with suppress(CorpusError):
                found, issues = load_queries(rows)
                assert ([query.text for query in found], issues) == (QUERIES, []), f"seed {seed}"
                whole += 1
            with suppress(CorpusError):
                assert load_qrels(rows) == {"question 1": {"r1": 1}}, f"seed {seed}"
            with suppress(CorpusError):
                # What cannot be looked at may be one more.
                assert {collection.name for collection in discover_collections(corpus)} >= names, f"seed {seed}"
            with suppress(CorpusError):
                files_digest(rows)
    assert 20 < whole < 180
