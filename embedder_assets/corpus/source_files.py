"""Which files of a collection hold its documents, and what of it cannot be used.

Only a name that is missing from a folder that was listed is absent. Whatever else keeps a file or a folder from being
looked at is an issue that names it, so that nothing below it counts as deleted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from embedder_assets.corpus.collections import (
    BEIR_CORPUS,
    BEIR_QRELS,
    BEIR_QRELS_FOLDER,
    BEIR_QUERIES,
    BEIR_SPLITS,
    Collection,
    is_collection_file,
    is_document_name,
    visible_entries,
)
from embedder_assets.corpus.document import DocumentIssue
from embedder_assets.corpus.paths import Entry, describe_os_error, may_read, open_file, printable, real_path, status
from embedder_assets.errors import CorpusError, DocumentError

UNKNOWN_FORMAT = "unknown_format"
_MOST_SUFFIXES = 50  # of which each has an issue of its own


@dataclass(frozen=True)
class SourceFile:
    """One file of a collection; ``doc_id`` is its path inside the collection, with forward slashes."""

    doc_id: str
    path: Path


@dataclass
class Listing:
    """What is in a collection's folder.

    Attributes:
        sources: The files that hold documents, sorted by ``doc_id``.
        issues: The files and folders that cannot be used, sorted by path.
        ignored: How many files were ignored for each suffix that is not a document's.
        ignored_in: The folder that has all of them, for each of these suffixes.
        about: The files at the top that are about the collection and no documents: queries, judgements, metadata.
        is_beir: Whether the rows of ``corpus.jsonl`` are the documents.
    """

    sources: list[SourceFile] = field(default_factory=list)
    issues: list[DocumentIssue] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    ignored_in: dict[str, str] = field(default_factory=dict)
    about: list[str] = field(default_factory=list)
    is_beir: bool = False

    @property
    def is_listed(self) -> bool:
        """Whether the collection's own folder could be listed."""
        return all(issue.path != "." for issue in self.issues)

    def unknown_formats(self) -> Iterator[dict[str, object]]:
        """An issue for each suffix that has no format: path, kind, message, part, count."""
        for suffix, count in sorted(self.ignored.most_common(_MOST_SUFFIXES)):
            files = (
                f"{count} {'file' if count == 1 else 'files'} {f'of suffix {suffix}' if suffix else 'without a suffix'}"
            )
            message = f"{files}: not a format that is read. Convert what is to be found."
            yield {"path": self.ignored_in[suffix], "kind": UNKNOWN_FORMAT, "message": message, "part": suffix} | {
                "count": count
            }
        rest = self.ignored.total() - sum(count for _, count in self.ignored.most_common(_MOST_SUFFIXES))
        if rest:
            message = (
                f"{rest} files with {len(self.ignored) - _MOST_SUFFIXES} more suffixes: not formats that are read."
            )
            yield {"path": ".", "kind": UNKNOWN_FORMAT, "message": message, "part": None, "count": rest}


def list_sources(collection: Collection, known: Set[str] = frozenset()) -> Listing:
    """List the files that hold a collection's documents; what cannot be listed is an issue.

    Args:
        collection: The collection.
        known: Ids of documents that there were: a folder in the place of one is an issue, any other is only a folder.
    """
    listing = _FolderWalk(collection, known).run()
    listing.sources.sort(key=lambda source: source.doc_id)
    listing.issues.sort(key=lambda issue: issue.path)
    return listing


def corpus_dir_of(collection: Collection) -> Path:
    """The corpus folder that a collection is in, without symlinks.

    Raises:
        OSError: It cannot be looked at.
    """
    root = collection.root.absolute()
    return real_path(root.parent if collection.recursive else root)


def refuse_outside(corpus: Path, path: Path, target: Path) -> None:
    """Refuse a path that symlinks take out of the corpus folder.

    Args:
        corpus: The corpus folder, without symlinks.
        path: The path.
        target: Where it leads, without symlinks.

    Raises:
        DocumentError: With kind ``symlink_outside_corpus``.
    """
    if not target.is_relative_to(corpus):
        raise DocumentError(
            printable(path),
            kind="symlink_outside_corpus",
            expected=f"a path inside {corpus}",
            got=f"a symlink to {printable(target)}",
            remedy="Copy the file or folder into the corpus folder instead of linking to it.",
        )


def check_file(collection: Collection, path: Path) -> None:
    """Refuse what cannot be read as a file, without opening it.

    Raises:
        DocumentError: With kind ``symlink_outside_corpus`` or ``unreadable``.
    """
    try:
        refuse_outside(corpus_dir_of(collection), path, real_path(path))
        _refuse_unreadable(path)
    except OSError as error:
        raise _unreadable(path, describe_os_error(error)) from error


def own_file(collection: Collection, name: str) -> Path | None:
    """The path of a file at the top of a collection that is about it and no document; None where there is none.

    Raises:
        CorpusError: The folder or the file cannot be looked at, or the file lies outside the corpus folder.
    """
    path = collection.root / name
    # Only a name that is missing from a folder that was listed is no file: an error is not.
    if name not in {entry.name for entry in visible_entries(collection.root)}:
        return None
    return checked(collection, path)


def checked(collection: Collection, path: Path) -> Path:
    """The path of a file of a collection, which can be read.

    Raises:
        CorpusError: It cannot be looked at, or lies outside the corpus folder.
    """
    try:
        check_file(collection, path)
    except DocumentError as error:
        raise CorpusError(error.thing, expected=error.expected, got=error.got, remedy=error.remedy) from error
    return path


def splits_in(collection: Collection, entries: Sequence[Entry]) -> list[str]:
    """The files in which BEIR keeps judgements, as ``qrels/test.tsv``, the one first that counts.

    Args:
        collection: The collection.
        entries: What is in its folder.

    Raises:
        CorpusError: The folder ``qrels`` cannot be read.
    """
    if not any(entry.name == BEIR_QRELS_FOLDER and entry.is_folder for entry in entries):
        return []
    found = visible_entries(collection.root / BEIR_QRELS_FOLDER)
    there = {entry.name for entry in found if not entry.is_folder}
    return [f"{BEIR_QRELS_FOLDER}/{name}" for name in BEIR_SPLITS if name in there]


def read_own_file(path: Path) -> str:
    """The text of a file at the top of a collection.

    Raises:
        CorpusError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            str(path),
            expected="a text file in UTF-8 that can be read",
            got=describe_os_error(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}",
            remedy="Correct the file or its permissions, or remove it.",
        ) from error


class _FolderWalk:
    """One look at a collection's folder and all below it; each real folder is entered once, so loops end."""

    def __init__(self, collection: Collection, known: Set[str]) -> None:
        self._collection = collection
        self._known = known
        self._listing = Listing()
        self._pending: list[tuple[Path, Path]] = []
        self._entered: set[Path] = set()

    def run(self) -> Listing:
        """Looks at everything."""
        root = self._collection.root
        try:
            self._corpus, self._root = corpus_dir_of(self._collection), real_path(root)
            refuse_outside(self._corpus, root, self._root)
            entries = visible_entries(root)
        except (OSError, CorpusError, DocumentError) as error:
            self._issue(root, error)
            return self._listing
        self._entered.add(self._root)
        for entry in self._documents_at_top(entries):
            self._look(root / entry.name, entry, self._root)
        for name in self._listing.about:
            if name in (BEIR_QUERIES, BEIR_QRELS) or "/" in name:
                self._readable(root / name)
        while self._pending:
            folder, real = self._pending.pop()
            try:
                entries = visible_entries(folder)
            except CorpusError as error:
                self._issue(folder, error)
                continue
            for entry in entries:
                self._look(folder / entry.name, entry, real)
        return self._listing

    def _documents_at_top(self, entries: list[Entry]) -> list[Entry]:
        """What is looked at: of a BEIR collection one file, of another one all but what is about the collection."""
        about = [entry.name for entry in entries if is_collection_file(entry.name) and not entry.is_folder]
        with suppress(CorpusError):  # who needs the judgements says so
            about += splits_in(self._collection, entries)
        self._listing.about = about
        corpus = [entry for entry in entries if entry.name == BEIR_CORPUS]
        self._listing.is_beir = bool(corpus)
        return corpus or [entry for entry in entries if entry.is_folder or entry.name not in about]

    def _look(self, path: Path, entry: Entry, parent: Path) -> None:
        """Takes a file as a source, or notes a folder to enter; ``parent`` is its folder without symlinks."""
        try:
            if entry.error is not None:
                raise entry.error
            if self._listing.is_beir or not entry.is_folder:
                self._file(path, entry)
                return
            if self._doc_id(path) in self._known:
                self._issue(path, _folder_instead(path))
            if self._collection.recursive:
                self._folder(path, entry, parent)
        except (OSError, DocumentError) as error:
            self._issue(path, error)

    def _file(self, path: Path, entry: Entry) -> None:
        doc_id = self._doc_id(path)
        if doc_id in self._listing.about:
            return
        if not is_document_name(entry.name) and not self._listing.is_beir:
            self._ignore(path)
            return
        if entry.is_link:
            refuse_outside(self._corpus, path, real_path(path))
        _refuse_unreadable(path)
        self._listing.sources.append(SourceFile(doc_id, path))

    def _ignore(self, path: Path) -> None:
        suffix, folder = printable(path.suffix.lower()), printable(self._doc_id(path.parent))
        self._listing.ignored[suffix] += 1
        common = self._listing.ignored_in.get(suffix, folder)
        self._listing.ignored_in[suffix] = folder if common == folder else os.path.commonpath([common, folder]) or "."

    def _readable(self, path: Path) -> None:
        """Notes a file of queries or judgements that cannot be opened; what it says is for their asset to read."""
        try:
            check_file(self._collection, path)
            os.close(open_file(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except (OSError, DocumentError) as error:
            self._issue(path, error)

    def _folder(self, path: Path, entry: Entry, parent: Path) -> None:
        real = parent / entry.name
        if entry.is_link:
            real = real_path(path)
            refuse_outside(self._corpus, path, real)
            if real.is_relative_to(self._root):
                return  # its files are reached by their real path
        if real not in self._entered:
            self._entered.add(real)
            self._pending.append((path, real))

    def _issue(self, path: Path, error: OSError | CorpusError | DocumentError) -> None:
        if isinstance(error, OSError):
            error = _unreadable(path, describe_os_error(error))
        kind = error.kind if isinstance(error, DocumentError) else "unreadable"
        place = printable(self._doc_id(path))
        self._listing.issues.append(DocumentIssue(self._collection.name, place, kind, str(error)))

    def _doc_id(self, path: Path) -> str:
        return path.relative_to(self._collection.root).as_posix()


def _refuse_unreadable(path: Path) -> None:
    """Raises for what is no file that can be read, ``OSError`` where the system says so itself."""
    problem = ""
    if printable(path) != str(path):
        problem = "a name that is not valid UTF-8"
    elif not S_ISREG(status(path).st_mode):
        problem = "a pipe, socket or device"
    elif not may_read(path):
        problem = "no permission to read it"
    if problem:
        raise _unreadable(path, problem)


def _folder_instead(path: Path) -> DocumentError:
    return DocumentError(
        printable(path),
        kind="not_a_file",
        expected="the document that was here",
        got="a folder",
        remedy="Put the file back in its place; or, if the document is to go, rename the folder.",
    )


def _unreadable(path: Path, got: str) -> DocumentError:
    return DocumentError(
        printable(path),
        kind="unreadable",
        expected="a file or folder that can be read",
        got=got,
        remedy="Rename it, replace it or change its permissions; or remove it from the corpus folder.",
    )
