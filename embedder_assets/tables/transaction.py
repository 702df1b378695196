"""Work on a collection: one at a time on a host, and done again where another host has changed what it has read.

The locks of a home keep its own processes apart. Another host has another home: there only the log of the tables can
tell. A commit is made on the version that the work has seen first; delta-rs refuses it if a commit since then has
touched the same collection, whatever either of them did. Then ``run_exclusively`` does the work again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import polars as pl
from arro3.core import Table
from deltalake import CommitProperties, DeltaTable
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from embedder_assets.errors import CommitConflictError
from embedder_assets.tables.locks import collection_lock
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.storage import TableStorage

if TYPE_CHECKING:
    from embedder_assets.tables.store import TableStore  # which imports ReadSnapshot

Result = TypeVar("Result")

TRIES = 8
LONGEST_WAIT_S = 10
# Of a commit: the versions of other tables that it was made from, as JSON.
MADE_FROM = "made_from"


def run_exclusively(store: TableStore, collections: Collection[str], work: Callable[[TableStore], Result]) -> Result:
    """Does some work on collections while no other process of this home works on one of them.

    Where hosts share the tables, another one may commit to one of them meanwhile. Then the work is done again, on what
    the tables are now: it computes what is missing, so it finds the other's rows there, and what it has staged itself.

    Args:
        store: The tables.
        collections: What the work is about.
        work: Reads and changes them through the tables that it is given; has to bear being done again.

    Raises:
        CommitConflictError: Somebody else was first each time.
    """
    tries = Retrying(
        retry=retry_if_exception_type(CommitConflictError),
        wait=wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_S),
        stop=stop_after_attempt(TRIES),
        reraise=True,
    )
    with ExitStack() as stack:
        for name in sorted(collections):
            stack.enter_context(collection_lock(store.home, name))
        for attempt in tries:
            with attempt, store.transaction() as tables:
                result = work(tables)
    return result


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
            self.check_unchanged(collection, but=table)
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

    def check_unchanged(self, collection: str, but: str | None = None) -> None:
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
