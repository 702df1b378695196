"""Tables in a folder of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from deltalake import DeltaTable

from embedder_assets.tables.snapshots import Snapshots

# What shows that a table's log has, or had, a version: a commit, a checkpoint, or the hint that names one. A process
# that is killed in its first commit leaves other names: the store writes `….json#1` and then links it.
_COMMITTED = re.compile(r"\d{20}(\.json|\.checkpoint(\..+)?\.parquet)|_last_checkpoint")


class Folder:
    """A ``Place`` on a local disk, where the locks of the home keep all writers apart."""

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

    def forget_staged(self, collection: str | None = None) -> None:
        """Nothing is staged here."""

    def reach(self) -> None:
        """A folder is made when the first table is."""
