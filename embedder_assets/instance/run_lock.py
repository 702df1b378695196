"""A lock that the process of a run holds while it lives: the kernel releases it, whatever kills the process."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from filelock import FileLock, Timeout

# A file that was made just now may not be locked yet.
YOUNG_S = 5.0
# The end of a run is written after its process has released the lock, with some retries where the storage is slow.
ENDING_S = 30.0


class RunLock:
    """Held by the process of a run; harmless to hold twice.

    Args:
        home: The home that the run works on.
    """

    def __init__(self, home: Path) -> None:
        self._folder = _folder(home)
        self._locks: dict[str, FileLock] = {}

    def hold(self, run_id: str) -> None:
        """Holds the lock of a run until ``close``."""
        if run_id not in self._locks:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._locks[run_id] = FileLock(_file(self._folder, run_id))
            self._locks[run_id].acquire()

    def close(self) -> None:
        """Releases the locks. Their files stay: only the storage knows whether the end of a run has come into it."""
        while self._locks:
            run_id, lock = self._locks.popitem()
            ended = time.time() + ENDING_S
            os.utime(_file(self._folder, run_id), (ended, ended))
            lock.release()


def is_lost(home: Path, run_id: str) -> bool:
    """Whether the process that once held the lock of a run is gone; False for a run that never held one here."""
    return _removed_if_free(_file(_folder(home), run_id))


def remove_ended(home: Path, in_progress: Collection[str]) -> None:
    """Removes the lock files of runs that have ended."""
    for file in _folder(home).glob("*.lock"):
        if file.stem not in in_progress:
            _removed_if_free(file)


def _removed_if_free(file: Path) -> bool:
    """Removes a lock file that nobody holds, unless somebody may be about to; whether it did."""
    try:
        # A time further in the future than the end of a run sets is of a clock that was ahead.
        if -(ENDING_S + 1) < time.time() - file.stat().st_mtime < YOUNG_S:
            return False
        with FileLock(file, timeout=0):
            file.unlink()
    except (FileNotFoundError, Timeout):
        return False
    return True


def _folder(home: Path) -> Path:
    return home / "locks" / "runs"


def _file(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.lock"
