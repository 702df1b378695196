"""Tables in a folder of this machine."""

from __future__ import annotations

from pathlib import Path

from deltalake import DeltaTable

from embedder_assets.tables.snapshots import Snapshots


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
        """Whether the table's log has an entry."""
        log = self.path / table / "_delta_log"
        return log.is_dir() and any(log.iterdir())

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
