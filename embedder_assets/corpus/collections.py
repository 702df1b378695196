"""Which collections a corpus folder holds; which files each of them has is the business of ``sources``.

How a corpus folder is read:

* It holds ``corpus.jsonl`` (BEIR): it is one collection, named after the folder.
* Otherwise every sub-folder is a collection with all its files at any depth, even if it holds no document yet.
* Documents that lie directly in the corpus folder form one more collection, named after the corpus folder, so
  that nothing is lost. A folder without sub-folders is therefore one collection.
* Where ``corpus.jsonl`` lies at the top of a collection, its rows are the documents and other files are ignored.
* Hidden files and folders are ignored, and so is what programs leave behind (``is_left_behind``). ``queries.jsonl``,
  judgements, ``metadata.jsonl`` and ``collection.toml`` at the top of a collection belong to it but are no documents.
* A symlink that leaves the corpus folder is refused. A symlink to a folder of the same collection is passed
  over, because its files are reached by their real path.
* What cannot be listed or looked at is an issue that names it, whatever the error: only a name that is missing from a
  folder that was listed is absent.

What the files say is the business of ``extract``, not of this module.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISDIR
from urllib.parse import quote

from embedder_assets.corpus.document import CODE_LANGUAGES, MEDIA_TYPES
from embedder_assets.corpus.paths import Entry, describe_os_error, list_folder, printable, real_path, status
from embedder_assets.errors import CorpusError, did_you_mean

BEIR_CORPUS = "corpus.jsonl"
BEIR_QUERIES = "queries.jsonl"
BEIR_QRELS = "qrels.tsv"
BEIR_QRELS_FOLDER = "qrels"
# The first of them that there is counts; what a model was trained on says nothing of it.
BEIR_SPLITS = ("test.tsv", "dev.tsv", "train.tsv")
COLLECTION_OPTIONS = "collection.toml"
METADATA_FILE = "metadata.jsonl"
_COLLECTION_FILES = (BEIR_QUERIES, BEIR_QRELS, "qrels_*.tsv", METADATA_FILE, COLLECTION_OPTIONS)

_SETTING = "`--corpus DIR` or EMBEDDER_CORPUS_DIR"

# Dagster refuses "..." and control characters in the name of a partition, and a collection is a partition.
_MAX_ENCODED_NAME = 200
# The folder of rows that have no collection, wherever partitions are named as Hive does it.
_NO_NAME = "__HIVE_DEFAULT_PARTITION__"
# Downloads, copies and backups that are not the file itself, and what systems keep of a folder for themselves.
_LEFT_BEHIND = re.compile(
    r"~\$.*|.*~|#.*#|.*\.(?:tmp|temp|bak|orig|rej|swp|part|partial|crdownload)|(?:eh)?thumbs\.db|desktop\.ini|icon\r",
    re.IGNORECASE | re.DOTALL,
)
_SYSTEM_FOLDERS = {
    *("__macosx", "__pycache__", "@eadir", "@recycle", "@__thumb", "#recycle", "#snapshot"),
    *("$recycle.bin", "lost+found", "system volume information"),
}
_BAD_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|\.\.\.")


@dataclass(frozen=True)
class Collection:
    """A named folder of documents; not ``recursive``: only the files directly in ``root``."""

    name: str
    root: Path
    recursive: bool


def discover_collections(corpus_dir: Path) -> list[Collection]:
    """List the collections of a corpus folder, sorted by name; ``refused_names`` says which folders are none.

    Raises:
        CorpusError: If the folder is missing, is no folder, cannot be read, holds nothing that can be a collection, or
            two collections of one name.
    """
    collections, refused = _look_at(corpus_dir)
    if not collections and refused:
        raise refused[0]
    if not collections:
        raise CorpusError(
            str(corpus_dir),
            expected="a folder with sub-folders (one per collection) or documents",
            got="a folder with neither",
            remedy=f"Put documents there ({_suffix_words()}), or name another folder ({_SETTING}).",
        )
    return sorted(collections, key=lambda collection: collection.name)


def refused_names(corpus_dir: Path) -> list[CorpusError]:
    """Why folders of a corpus folder are no collections, though they would be under another name.

    Raises:
        CorpusError: If the folder is missing, is no folder, or cannot be read.
    """
    return _look_at(corpus_dir)[1]


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
            remedy=did_you_mean(name, found, f"Name the folder that has it ({_SETTING})."),
        )
    return found[name]


def visible_entries(folder: Path) -> list[Entry]:
    """The names in a folder that are neither hidden nor left behind by a program, sorted.

    Raises:
        CorpusError: The folder cannot be read.
    """
    try:
        entries = list_folder(folder)
        return [entry for entry in entries if not (entry.name.startswith(".") or _is_left_behind(entry))]
    except OSError as error:
        raise CorpusError(
            printable(folder),
            expected="a folder that can be read",
            got=describe_os_error(error),
            remedy="Nothing is deleted because of it. Give the user that runs this read and search permission on it.",
        ) from error


def is_left_behind(name: str, *, is_folder: bool) -> bool:
    """Whether a name is one that programs give to what they leave behind and nobody reads.

    Word writes ``~$policy.docx`` while ``policy.docx`` is open. A folder has such a name by its owner's choice, but
    for those that systems make.
    """
    return name.lower() in _SYSTEM_FOLDERS if is_folder else bool(_LEFT_BEHIND.fullmatch(name))


def is_collection_file(name: str) -> bool:
    """Whether a file of this name at the top of a collection is about it, and no document."""
    return any(fnmatch(name, pattern) for pattern in _COLLECTION_FILES)


def is_document_name(name: str) -> bool:
    """Whether a file of this name would be a document."""
    return os.path.splitext(name)[1].lower() in MEDIA_TYPES  # noqa: PTH122 - called for every name of a large tree


def _is_left_behind(entry: Entry) -> bool:
    # What cannot be looked at may be a folder of documents.
    return entry.error is None and is_left_behind(entry.name, is_folder=entry.is_folder)


def _existing_folder(corpus_dir: Path) -> Path:
    remedy = f"Create it, or name the folder that holds your documents ({_SETTING})."
    try:
        if S_ISDIR(status(corpus_dir).st_mode):
            return real_path(corpus_dir)
    except OSError as error:
        got = "nothing there" if isinstance(error, FileNotFoundError) else describe_os_error(error)
        raise CorpusError(str(corpus_dir), expected="an existing folder", got=got, remedy=remedy) from error
    raise CorpusError(str(corpus_dir), expected="a folder", got="a file", remedy=remedy)


def _look_at(corpus_dir: Path) -> tuple[list[Collection], list[CorpusError]]:
    """The collections of a corpus folder, and why others are none."""
    root = _existing_folder(corpus_dir)
    loose = Collection(root.name or "corpus", root, recursive=False)
    entries = visible_entries(root)
    if any(entry.name == BEIR_CORPUS for entry in entries):
        found = [loose]
    else:
        found = [
            Collection(entry.name, root / entry.name, recursive=True) for entry in entries if _may_be_folder(entry)
        ]
        files = [entry.name for entry in entries if not _may_be_folder(entry)]
        if any(is_document_name(name) and not is_collection_file(name) for name in files):
            _refuse_name_clash(root, loose.name, found)
            found.append(loose)
    problems = {collection: _problem_of_name(collection.name) for collection in found}
    return [each for each in found if problems[each] is None], [error for error in problems.values() if error]


def _problem_of_name(name: str) -> CorpusError | None:
    """Why a collection cannot have a name."""
    bytes_of_name = len(quote(name.encode("utf-8", "replace"), safe=""))
    if _BAD_NAME.search(name):
        expected = "a name in UTF-8 without control characters and without '...'"
        got = "one that cannot be a partition"
    elif name == _NO_NAME:
        expected, got = "any other name", "the one that tables use for rows without a collection"
    elif bytes_of_name > _MAX_ENCODED_NAME:
        got = f"{bytes_of_name} bytes"
        expected = f"a shorter name, of at most {_MAX_ENCODED_NAME} bytes, percent-encoded as in the folders of tables"
    else:
        return None
    remedy = "Rename the folder; until then nothing of it is read."
    # As a literal: a name with a line break in it is one line of the message.
    return CorpusError(f"collection {name!r}", expected=expected, got=got, remedy=remedy)


def _refuse_name_clash(root: Path, own_name: str, collections: list[Collection]) -> None:
    if any(collection.name == own_name for collection in collections):
        raise CorpusError(
            str(root),
            expected="one collection for each name",
            got=f"loose documents, which form the collection {own_name!r}, and a sub-folder {own_name!r}",
            remedy="Move the loose documents into a sub-folder of their own, or rename the sub-folder.",
        )


def _suffix_words() -> str:
    return f"{' '.join(suffix for suffix in MEDIA_TYPES if suffix not in CODE_LANGUAGES)}, or source code"


def _may_be_folder(entry: Entry) -> bool:
    """Whether a name is a folder, or may be one that cannot be looked at now."""
    gone = isinstance(entry.error, FileNotFoundError)
    return entry.is_folder or (entry.error is not None and not gone and not is_document_name(entry.name))
