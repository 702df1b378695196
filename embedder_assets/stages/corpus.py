"""Which collections a corpus folder holds, and which files each collection has.

How a corpus folder is read:

* It holds ``corpus.jsonl`` (BEIR): it is one collection, named after the folder.
* Otherwise every sub-folder is a collection with all its files at any depth, even if it holds no document yet.
* Documents that lie directly in the corpus folder form one more collection, named after the corpus folder, so
  that nothing is lost. A folder without sub-folders is therefore one collection.
* Where ``corpus.jsonl`` lies at the top of a collection, its rows are the documents and other files are ignored.
* Hidden files and folders are ignored. ``queries.jsonl``, ``qrels.tsv`` and ``qrels_*.tsv`` at the top of a
  collection belong to it but are no documents.
* A symlink that leaves the corpus folder is refused. A symlink to a folder of the same collection is passed
  over, because its files are reached by their real path.

What the files say is the business of ``extract``, not of this module.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote

from embedder_assets.errors import CorpusError, DocumentError
from embedder_assets.stages.document import MEDIA_TYPES, DocumentIssue

BEIR_CORPUS = "corpus.jsonl"
BEIR_QUERIES = "queries.jsonl"
BEIR_QRELS = "qrels.tsv"
_NOT_DOCUMENTS = (BEIR_CORPUS, BEIR_QUERIES, BEIR_QRELS, "qrels_*.tsv")

# Dagster refuses "..." and control characters in the name of a partition, and a collection is a partition.
_MAX_ENCODED_NAME = 200
_BAD_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|\.\.\.")


@dataclass(frozen=True)
class Collection:
    """A named folder of documents; not ``recursive``: only the files directly in ``root``."""

    name: str
    root: Path
    recursive: bool


@dataclass(frozen=True)
class SourceFile:
    """One file of a collection; ``doc_id`` is its path inside the collection, with forward slashes."""

    doc_id: str
    path: Path


def discover_collections(corpus_dir: Path) -> list[Collection]:
    """List the collections of a corpus folder, sorted by name.

    Raises:
        CorpusError: If the folder is missing, is no folder, cannot be read, holds nothing that could be a
            collection, or names two collections the same.
    """
    root = _existing_folder(corpus_dir)
    own_name = root.name or "corpus"
    entries = _visible_entries(root)
    if any(path.name == BEIR_CORPUS for path in entries):
        return [Collection(_checked_name(own_name), root, recursive=False)]
    collections = [Collection(_checked_name(path.name), path, recursive=True) for path in entries if _is_folder(path)]
    if any(_is_document_name(path.name) and not _is_folder(path) for path in entries):
        _refuse_name_clash(root, own_name, collections)
        collections.append(Collection(_checked_name(own_name), root, recursive=False))
    if not collections:
        raise CorpusError(
            str(root),
            expected="a folder with sub-folders (one a collection) or documents",
            got="a folder with neither",
            remedy=f"Put documents there ({_suffix_words()}), or point EMBEDDER_CORPUS_DIR to another folder.",
        )
    return sorted(collections, key=lambda collection: collection.name)


def find_collection(corpus_dir: Path, name: str) -> Collection:
    """A collection of a corpus folder by its name.

    Raises:
        CorpusError: The folder has none of that name.
    """
    found = {collection.name: collection for collection in discover_collections(corpus_dir)}
    if name not in found:
        raise CorpusError(
            f"collection '{name}'",
            expected=f"one of: {', '.join(found)}",
            got=f"no such collection in {corpus_dir}",
            remedy="Correct the name, or point EMBEDDER_CORPUS_DIR (--corpus) to the folder that has it.",
        )
    return found[name]


def list_sources(collection: Collection) -> tuple[list[SourceFile], list[DocumentIssue], Counter[str]]:
    """List the files that hold a collection's documents.

    Returns:
        The files sorted by ``doc_id``, the files and folders that cannot be used, and how many files were ignored
        for each suffix that is not a document's.
    """
    sources: list[SourceFile] = []
    issues: list[DocumentIssue] = []
    ignored: Counter[str] = Counter()
    for path in _candidates(collection, issues):
        doc_id = _doc_id(collection, path)
        if not _is_document_name(path.name) and doc_id != BEIR_CORPUS:
            ignored[path.suffix.lower()] += 1
            continue
        try:
            check_file(collection, path)
            sources.append(SourceFile(doc_id, path))
        except DocumentError as error:
            issues.append(DocumentIssue.from_error(collection.name, _printable(doc_id), error))
    return sorted(sources, key=lambda source: source.doc_id), sorted(issues, key=lambda issue: issue.path), ignored


def is_beir(collection: Collection) -> bool:
    """Say whether the rows of ``corpus.jsonl`` are the documents of a collection."""
    return os.path.lexists(collection.root / BEIR_CORPUS)


def check_inside_corpus(collection: Collection, path: Path) -> None:
    """Refuse a path that symlinks take out of the corpus folder.

    Raises:
        DocumentError: With kind ``symlink_outside_corpus``.
    """
    corpus = _corpus_dir(collection)
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(corpus):
        raise DocumentError(
            _printable(str(path)),
            kind="symlink_outside_corpus",
            expected=f"a path inside {corpus}",
            got=f"a symlink to {_printable(str(target))}",
            remedy="Copy the file or folder into the corpus folder instead of linking to it.",
        )


def check_file(collection: Collection, path: Path) -> None:
    """Refuse what cannot be read as a file, without opening it.

    Raises:
        DocumentError: With kind ``symlink_outside_corpus`` or ``unreadable``.
    """
    check_inside_corpus(collection, path)
    problem = ""
    if _printable(str(path)) != str(path):
        problem = "a name that is not valid UTF-8"
    elif path.is_symlink() and not os.path.exists(path):  # noqa: PTH110 - False also where permission is missing
        problem = "a broken symlink"
    elif not os.access(path, os.R_OK):
        problem = "no permission to read it"
    elif not path.is_file():
        problem = "a pipe, socket or device"
    if problem:
        raise DocumentError(
            _printable(str(path)),
            kind="unreadable",
            expected="a file that can be read",
            got=problem,
            remedy="Rename it, replace it or change its permissions; or remove it from the corpus folder.",
        )


def _existing_folder(corpus_dir: Path) -> Path:
    remedy = "Create the folder, or point EMBEDDER_CORPUS_DIR to the folder that holds your documents."
    if not corpus_dir.exists():
        raise CorpusError(str(corpus_dir), expected="an existing folder", got="nothing there", remedy=remedy)
    if not corpus_dir.is_dir():
        raise CorpusError(str(corpus_dir), expected="a folder", got="a file", remedy=remedy)
    return corpus_dir.resolve()


def _visible_entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise CorpusError(
            str(folder),
            expected="a folder that can be read",
            got=f"{type(error).__name__}: {error.strerror}",
            remedy="Give the user that runs this read and search permission on the folder.",
        ) from error


def _checked_name(name: str) -> str:
    if _BAD_NAME.search(name):
        raise CorpusError(
            _printable(name),
            expected="a collection name in UTF-8 without control characters and without '...'",
            got=repr(name),
            remedy="Rename the folder.",
        )
    encoded = len(quote(name, safe=""))
    if encoded > _MAX_ENCODED_NAME:
        raise CorpusError(
            f"collection '{name}'",
            expected=f"a name of at most {_MAX_ENCODED_NAME} bytes, percent-encoded as in the folders of tables",
            got=f"{encoded} bytes",
            remedy="Give the folder a shorter name.",
        )
    return name


def _refuse_name_clash(root: Path, own_name: str, collections: list[Collection]) -> None:
    if any(collection.name == own_name for collection in collections):
        raise CorpusError(
            str(root),
            expected="one collection for each name",
            got=f"loose documents, which form the collection {own_name!r}, and a sub-folder {own_name!r}",
            remedy="Move the loose documents into a sub-folder of their own, or rename the sub-folder.",
        )


def _is_document_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in MEDIA_TYPES  # noqa: PTH122 - called for every name of a large tree


def _suffix_words() -> str:
    return " ".join(MEDIA_TYPES)


def _corpus_dir(collection: Collection) -> Path:
    root = collection.root.absolute()
    return Path(os.path.realpath(root.parent if collection.recursive else root))


def _doc_id(collection: Collection, path: Path) -> str:
    return path.relative_to(collection.root).as_posix()


def _candidates(collection: Collection, issues: list[DocumentIssue]) -> Iterator[Path]:
    """Yield the files that might be documents; what cannot be walked goes to ``issues``."""
    if not _may_enter(collection, collection.root, issues):
        return
    if is_beir(collection):
        yield collection.root / BEIR_CORPUS
        return
    for path in _walk(collection, issues):
        at_top = path.parent == collection.root
        if not (at_top and any(fnmatch(path.name, pattern) for pattern in _NOT_DOCUMENTS)):
            yield path


def _walk(collection: Collection, issues: list[DocumentIssue]) -> Iterator[Path]:
    """Yield all visible files below a collection's root; each real folder is entered once, so loops end."""
    root = os.path.realpath(collection.root)
    pending, entered = [collection.root], {root}
    while pending:
        folder = pending.pop()
        try:
            entries = _visible_entries(folder)
        except CorpusError as error:
            place = _printable(_doc_id(collection, folder))
            issues.append(DocumentIssue(collection.name, place, "unreadable", error.explanation))
            continue
        for path in entries:
            if not _is_folder(path):
                yield path
            elif collection.recursive and _may_enter(collection, path, issues):
                real = os.path.realpath(path)
                reached_anyway = path.is_symlink() and Path(real).is_relative_to(root)
                if real not in entered and not reached_anyway:
                    entered.add(real)
                    pending.append(path)


def _may_enter(collection: Collection, folder: Path, issues: list[DocumentIssue]) -> bool:
    try:
        check_inside_corpus(collection, folder)
    except DocumentError as error:
        issues.append(DocumentIssue.from_error(collection.name, _printable(_doc_id(collection, folder)), error))
        return False
    return True


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - False, not an error, where permission is missing


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
