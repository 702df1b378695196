"""What a piece of work has read, so that its commit fails where somebody has changed that meanwhile.

The locks of a home keep its own processes apart. Another host has another home: there only the log of the tables can
tell. A commit is made on the version that the work has seen first; delta-rs refuses it if a commit since then has
touched the same collection, whatever either of them did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl
from arro3.core import Table
from deltalake import CommitProperties, DeltaTable

from embedder_assets.errors import CommitConflictError
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.staging import Staging
from embedder_assets.tables.storage import TableStorage

# Of a commit: the versions of other tables that it was made from, as JSON.
MADE_FROM = "made_from"


class ReadSnapshot:
    """The first version of each table that a piece of work has seen.

    Args:
        storage: Where the tables are.
        remembers: Whether it is a piece of work; otherwise each commit is made on the newest version.
    """

    def __init__(self, storage: TableStorage, *, remembers: bool) -> None:
        self._storage = storage
        self._remembers = remembers
        self._first: dict[str, DeltaTable | None] = {}

    def note(self, table: str, delta: DeltaTable | None) -> None:
        """A table was looked at; None for one that was not there."""
        if self._remembers:
            self._first.setdefault(table, delta)

    def base(self, table: str, collection: str | None) -> DeltaTable | str:
        """What to commit to: a version of a table, or its address where there is none yet.

        Args:
            table: Name of the table.
            collection: What the commit changes; None for all of the table.

        Raises:
            CommitConflictError: What the work has read of the collection is not the newest.
        """
        shared = collection is not None and self._storage.shared
        if collection is not None and shared:
            self.confirm(collection, but=table)
        known = self._first.get(table)
        if known is not None:
            return known  # what came after it, delta-rs sees
        base = self._newest(table)
        if collection is not None and shared and table in self._first and files_of(base, collection):
            raise commit_conflict(table, collection, "a table that was not there when it was looked for")
        return base

    def committed(self, table: str, base: DeltaTable | str) -> None:
        """The work itself has made a version of what it was given to commit to."""
        if self._remembers:
            self._first[table] = base if isinstance(base, DeltaTable) else self._storage.open(table)

    def version(self, table: str) -> int:
        """The version of a table that was first read, or made since; the newest for one that was not looked at.

        -1 for a table that was not there.
        """
        if table not in self._first and self._storage.exists(table):
            return self._storage.newest(table).version()
        known = self._first.get(table)
        return -1 if known is None else known.version()

    def describe(self, table: str, collection: str | None) -> CommitProperties:
        """What the history says of a commit next to its operation: the collection, and the versions it is made from."""
        if collection is None:
            return CommitProperties()
        read = {name: delta.version() for name, delta in self._first.items() if delta is not None and name != table}
        return CommitProperties(custom_metadata={"collection": collection, MADE_FROM: json.dumps(read)})

    def confirm(self, collection: str, but: str | None = None) -> None:
        """Returns where all that was read of a collection is still the newest; one table may be left out.

        Raises:
            CommitConflictError: Another host has changed some of it.
        """
        if not self._storage.shared:
            return
        for table, known in self._first.items():
            newest = self._storage.newest(table) if table != but and self._storage.exists(table) else None
            if table != but and newest is not known and files_of(known, collection) != files_of(newest, collection):
                raise commit_conflict(table, collection, "a newer version than was read")

    def _newest(self, table: str) -> DeltaTable | str:
        if self._storage.exists(table):
            return self._storage.open(table)
        address, options = self._storage.address(table), self._storage.writing
        if not self._storage.shared:
            return address
        # Two that make a table do not see each other: where hosts share it, it is made before it has rows.
        empty = Table.from_arrow(pl.DataFrame(schema=SCHEMAS[table]))
        return DeltaTable.create(address, empty.schema, "ignore", ["collection"], storage_options=options)


class FixedVersions:
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
            # Opened for us alone: who commits moves the version that is shared.
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


def files_of(delta: DeltaTable | str | None, collection: str) -> set[str]:
    """The files of a collection in a version of a table, as delta-rs names them; none where there is no table."""
    return (
        set(delta.file_uris(file_pruning_predicate=collection_predicate(collection)))
        if isinstance(delta, DeltaTable)
        else set()
    )


def collection_predicate(collection: str) -> str:
    """The rows of a collection, in SQL."""
    escaped = collection.replace("'", "''")
    return f"collection = '{escaped}'"


def commit_conflict(table: str, collection: str | None, got: str) -> CommitConflictError:
    """The error of who was too late."""
    return CommitConflictError(
        f"table '{table}'" + (f", collection '{collection}'" if collection else ""),
        expected="nobody else to write it at the same time",
        got=got,
        remedy="Nothing of this was written. Run again when the other run or command has ended.",
    )
