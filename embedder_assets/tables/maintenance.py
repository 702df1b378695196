"""Keeps the tables in shape: few files, a short log, and earlier versions for as long as the settings say."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from deltalake import CommitProperties, WriterProperties

from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import FILE_BYTES, ROW_GROUP_ROWS, TableStore
from embedder_assets.tables.transaction import run_exclusively

HOURS_PER_DAY = 24
# Table to the versions whose files stay however old they are.
Needed = Mapping[str, Set[int]]
# Files of a commit that is being written are in no version yet.
SHORTEST_HOURS = 1


@dataclass(frozen=True)
class MaintenanceResult:
    """What was done to one table.

    Attributes:
        files_before: Data files of the newest version.
        files_after: The same afterwards.
        files_removed: Files of earlier versions that are gone from the disk.
        bytes_removed: Their size; None in an object store, which does not tell it.
    """

    table: str
    files_before: int
    files_after: int
    files_removed: int
    bytes_removed: int | None


def maintain(
    store: TableStore, history_days: float, collections: Sequence[str] = (), needed: Callable[[], Needed] = dict
) -> list[MaintenanceResult]:
    """Compacts every table, and forgets versions that are older than the history is to be.

    A collection is locked while its files are compacted, and all are while files are removed, so no run is in between.

    Args:
        store: The tables.
        history_days: For how long an earlier version can be read and restored; an hour at least.
        collections: Those that a run may be working on, in addition to the ones that have rows.
        needed: Asked, while nobody works on a collection, which older versions a reader still needs.

    Raises:
        TableError: A table cannot be read or written; those before it are done.
    """
    return [
        _maintain(
            store,
            table,
            collections,
            functools.partial(_vacuum, table=table, history_days=history_days, needed=needed),
        )
        for table in SCHEMAS
        if store.exists(table)
    ]


def _maintain(
    store: TableStore,
    table: str,
    collections: Sequence[str],
    vacuum: Callable[[TableStore], tuple[int, int | None]],
) -> MaintenanceResult:
    with store.readable(table):
        before = len(store.storage.open(table).file_uris())
        present = store.collections(table)
        for collection in present:
            run_exclusively(store, [collection], functools.partial(_compact, table=table, collection=collection))
        removed, size = run_exclusively(store, {*present, *collections}, vacuum)
        return MaintenanceResult(
            table=table,
            files_before=before,
            files_after=len(store.storage.open(table).file_uris()),
            files_removed=removed,
            bytes_removed=size,
        )


def _compact(store: TableStore, table: str, collection: str) -> None:
    with store.committing(table):
        store.storage.open(table).optimize.compact(
            partition_filters=[("collection", "=", collection)],
            target_size=FILE_BYTES,
            writer_properties=WriterProperties(max_row_group_size=ROW_GROUP_ROWS),
            commit_properties=CommitProperties(custom_metadata={"collection": collection}),
        )


def _vacuum(store: TableStore, table: str, history_days: float, needed: Callable[[], Needed]) -> tuple[int, int | None]:
    """Removes the files of old versions; returns how many there were, and their size."""
    kept = sorted(needed().get(table, ())) or None
    with store.committing(table):
        delta = store.storage.open(table)
        hours = max(SHORTEST_HOURS, round(history_days * HOURS_PER_DAY))
        vacuum = functools.partial(delta.vacuum, hours, enforce_retention_duration=False, keep_versions=kept)
        unused = vacuum(dry_run=True)
        size = None if store.storage.shared else _size(store, table, unused)
        removed = vacuum(dry_run=False)
        delta.create_checkpoint()
        delta.cleanup_metadata()
    return len(removed), size


def _size(store: TableStore, table: str, names: Sequence[str]) -> int:
    files = [store.path(table) / name for name in names]
    return sum(file.stat().st_size for file in files if file.exists())
