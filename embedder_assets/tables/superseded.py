"""Whether somebody has changed a collection since a run has read it.

The steps of a run take turns with those of other runs, so another one may commit newer rows between two of them. What
the run had left to do is then that one's work, whose own checks judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from embedder_assets.tables.history import changed_since
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore


class NotedVersions:
    """The versions of the tables that the steps of one run have read or made, by collection.

    The first note of a table counts: a later step that reads newer rows must not hide that the earlier ones did not.

    Attributes:
        left_to_others: The collections that a step has left to another run, each with the sentence that says why.
    """

    def __init__(self) -> None:
        self.left_to_others: dict[str, str] = {}
        self._versions: dict[str, dict[str, int]] = {}

    def note(self, store: TableStore, collection: str, tables: Iterable[str]) -> dict[str, int]:
        """Notes the versions of some tables that a step has read or made, while nobody else works on the collection.

        Args:
            store: The tables.
            collection: What the step worked on.
            tables: Their names; names of what is no table are left out.

        Returns:
            Table to version: what another process needs for ``add``.
        """
        versions = {table: store.version(table) for table in tables if table in SCHEMAS}
        self.add(collection, versions)
        return versions

    def add(self, collection: str, versions: Mapping[str, int]) -> None:
        """Takes over what another process of the run has noted, in any order."""
        known = self._versions.setdefault(collection, {})
        for table, version in versions.items():
            known[table] = min(version, known.get(table, version))

    def superseded(self, store: TableStore, collection: str) -> str | None:
        """A sentence about the first table in which rows of a collection have changed since; None where none have.

        Compaction changes no row.
        """
        for table, version in self._versions.get(collection, {}).items():
            commit = changed_since(store, table, collection, version)
            if commit is not None:
                return (
                    f"another run or command has changed the table '{table}' since this run read it (version "
                    f"{commit.version}, {commit.at:%Y-%m-%d %H:%M:%S} UTC); what this run had left to do is up to it"
                )
        return None
