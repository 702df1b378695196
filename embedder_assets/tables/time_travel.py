"""The tables as they were: every one stays at one version, whoever commits meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from deltalake import DeltaTable

from embedder_assets.tables.staging import Staging
from embedder_assets.tables.storage import TableStorage


class TimeTravelStorage:
    """A ``TableStorage`` for reading, in which every table stays at one version.

    Args:
        storage: Where the tables are.
        versions: Name of a table to its version, or to None for a table that is to be empty. Any other table stays at
            the version that is the newest when it is first looked at.
    """

    def __init__(self, storage: TableStorage, versions: Mapping[str, int | None]) -> None:
        self._storage = storage
        self._versions = versions
        self._opened: dict[str, DeltaTable | None] = {}
        self.shared, self.reading, self.writing = storage.shared, storage.reading, storage.writing

    def __str__(self) -> str:
        return str(self._storage)

    def _table(self, table: str) -> DeltaTable | None:
        if table not in self._opened:
            version = self._versions.get(table)
            empty = version is None if table in self._versions else not self._storage.exists(table)
            # Opened for this reader alone: who commits moves the version that is shared.
            self._opened[table] = None if empty else self._storage.open(table, version)
        return self._opened[table]

    def address(self, table: str) -> str:
        """As of the storage."""
        return self._storage.address(table)

    def exists(self, table: str) -> bool:
        """Whether the table was there."""
        return self._table(table) is not None

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """As of the storage, whatever version is fixed."""
        return self._storage.open(table, version)

    def newest(self, table: str) -> DeltaTable:
        """The version at which the table stays; only for one that was there."""
        delta = self._table(table)
        assert delta is not None, "`exists` was asked before"
        return delta

    def file(self, table: str, name: str) -> str:
        """As of the storage."""
        return self._storage.file(table, name)

    def staging(self, table: str, collection: str, fingerprint: str) -> Staging | None:
        """As of the storage."""
        return self._storage.staging(table, collection, fingerprint)

    def delete_staged(self, collection: str | None = None) -> None:
        """As of the storage."""
        self._storage.delete_staged(collection)

    def check_access(self) -> None:
        """As of the storage."""
        self._storage.check_access()
