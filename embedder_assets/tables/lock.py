"""One worker at a time on a collection of a home, whatever process it is in."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from filelock import FileLock


def collection_lock(home: Path, collection: str) -> FileLock:
    """The lock of a collection; who waits for it finds the work of the other done."""
    locks = home / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{quote(collection, safe='')}.lock")
