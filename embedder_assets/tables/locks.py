"""One worker at a time on a collection of a home, and one commit at a time to a table, whatever the process."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from embedder_assets.tables.file_errors import FREE_SPACE, translate_file_errors


def collection_lock(home: Path, collection: str) -> FileLock:
    """The lock of a collection; who waits for it finds the work of the other done."""
    return _lock(home / "locks", collection)


def table_lock(home: Path, table: str) -> FileLock:
    """The lock of a table, held while a commit is made.

    delta-rs refuses a commit that removes rows of one collection at the same time as one that removes rows of another,
    and a stream cannot be made again. Taken inside of a collection's lock, never the other way round.
    """
    return _lock(home / "locks" / "tables", table)


def _lock(folder: Path, name: str) -> FileLock:
    with translate_file_errors(f"the locks in {folder}", expected="a folder that can be written", remedy=FREE_SPACE):
        folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{quote(name, safe='')}.lock")
