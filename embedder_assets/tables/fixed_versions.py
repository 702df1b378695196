"""The tables as they were at one moment: what a reader sees while others commit."""

from __future__ import annotations

from collections.abc import Mapping

from deltalake import DeltaTable

from embedder_assets.tables.staging import Staging
from embedder_assets.tables.storage import Place


class FixedVersions:
    """A ``Place`` for reading, in which every table stays at one version.

    Args:
        place: Where the tables are.
        versions: Name of a table to its version, or to None for a table that is to be empty. Any other table stays at
            the version that is the newest when it is first looked at.
    """

    def __init__(self, place: Place, versions: Mapping[str, int | None]) -> None:
        self._place = place
        self._versions = versions
        self._opened: dict[str, DeltaTable | None] = {}
        self.shared, self.reading, self.writing = place.shared, place.reading, place.writing

    def __str__(self) -> str:
        return str(self._place)

    def _table(self, table: str) -> DeltaTable | None:
        if table not in self._opened:
            version = self._versions.get(table)
            empty = version is None if table in self._versions else not self._place.exists(table)
            # Opened for us alone: who commits moves the version that is shared.
            self._opened[table] = None if empty else self._place.open(table, version)
        return self._opened[table]

    def address(self, table: str) -> str:
        """As of the place."""
        return self._place.address(table)

    def exists(self, table: str) -> bool:
        """Whether the table was there."""
        return self._table(table) is not None

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """As of the place, whatever version is fixed."""
        return self._place.open(table, version)

    def newest(self, table: str) -> DeltaTable:
        """The version at which the table stays; only for one that was there."""
        delta = self._table(table)
        assert delta is not None, "`exists` was asked before"
        return delta

    def file(self, table: str, name: str) -> str:
        """As of the place."""
        return self._place.file(table, name)

    def staging(self, table: str, collection: str, fingerprint: str) -> Staging | None:
        """As of the place."""
        return self._place.staging(table, collection, fingerprint)

    def forget_staged(self, collection: str | None = None) -> None:
        """As of the place."""
        self._place.forget_staged(collection)

    def reach(self) -> None:
        """As of the place."""
        self._place.reach()
