"""Tables in a folder of this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

# What shows that a table's log has, or had, a version: a commit, a checkpoint, or the hint that names one. A process
# that is killed in its first commit leaves other names: the store writes `….json#1` and then links it.
_COMMITTED = re.compile(r"\d{20}(\.json|\.checkpoint(\..+)?\.parquet)|_last_checkpoint")


class LocalStorage:
    """A ``TableStorage`` on a local disk, where the locks of the home keep all writers apart."""

    shared = False
    reading = None
    writing = None

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._snapshots = Snapshots()

    def __str__(self) -> str:
        return str(self.path)

    def address(self, table: str) -> str:
        """The table's folder."""
        return str(self.path / table)

    def exists(self, table: str) -> bool:
        """Whether the table's log has a version: a folder without a commit is no table."""
        try:
            with os.scandir(self.path / table / "_delta_log") as entries:
                return any(_COMMITTED.fullmatch(entry.name) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Reads the table's log."""
        return DeltaTable(self.address(table), version=version)

    def newest(self, table: str) -> DeltaTable:
        """Reads the log only where somebody has committed."""
        return self._snapshots.newest(self.path / table)

    def file(self, table: str, name: str) -> str:
        """A path."""
        return f"{self.address(table)}/{name}"

    def staging(self, table: str, collection: str, fingerprint: str) -> None:
        """Nowhere but in the home."""

    def delete_staged(self, collection: str | None = None) -> None:
        """Nothing is staged here."""

    def check_access(self) -> None:
        """A folder is made when the first table is."""


@dataclass(frozen=True)
class _Opened:
    delta: DeltaTable
    commit: tuple[int, int] | None


class Snapshots:
    """The newest version of each table by folder, opened once: opening reads the log, looking for a commit does not.

    Whoever commits, in whatever process, is seen at the next look.
    """

    def __init__(self) -> None:
        self._opened: dict[Path, _Opened] = {}

    def newest(self, folder: Path) -> DeltaTable:
        """The newest version of a table; read it only, others hold it too.

        Raises:
            DeltaError: The table is not there, or its log cannot be read.
        """
        known = self._opened.get(folder)
        if known is None or not _is_newest(folder, known):
            delta = DeltaTable(str(folder))
            known = self._opened[folder] = _Opened(delta, _identity(_commit(folder, delta.version())))
        return known.delta


def _is_newest(folder: Path, known: _Opened) -> bool:
    """Whether no commit follows, and the commit is still the one of then: a folder may be deleted and written anew."""
    version = known.delta.version()
    return (
        known.commit is not None
        and known.commit == _identity(_commit(folder, version))
        and not _commit(folder, version + 1).exists()
    )


def _commit(folder: Path, version: int) -> Path:
    return folder / "_delta_log" / f"{version:020}.json"


def _identity(file: Path) -> tuple[int, int] | None:
    """None where the file is gone, as that of a commit of long ago may be."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
