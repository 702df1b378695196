"""Keeps the tables in shape: few files, a short log, and former versions for as long as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from deltalake import CommitProperties, DeltaTable, WriterProperties

from embedder_assets.tables.lock import collection_lock
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import FILE_BYTES, ROW_GROUP_ROWS, TableStore

HOURS_A_DAY = 24
# Files of a commit that is being written are in no version yet.
SHORTEST_HOURS = 1


@dataclass(frozen=True)
class Maintenance:
    """What was done to one table.

    Attributes:
        files_before: Data files of the newest version.
        files_after: The same afterwards.
        files_removed: Files of former versions that are gone from the disk.
        bytes_removed: Their size.
    """

    table: str
    files_before: int
    files_after: int
    files_removed: int
    bytes_removed: int


def maintain(store: TableStore, history_days: float, collections: Sequence[str] = ()) -> list[Maintenance]:
    """Compacts every table, and forgets versions that are older than the history is to be.

    A collection is locked while its files are compacted, and all are while files are removed, so no run is in between.

    Args:
        store: The tables.
        history_days: For how long a former version can be read and restored; an hour at least.
        collections: Those that a run may be working on, beside the ones that have rows.

    Raises:
        TableError: A table cannot be read or written; those before it are done.
    """
    return [_maintain(store, table, history_days, collections) for table in SCHEMAS if store.exists(table)]


def _maintain(store: TableStore, table: str, history_days: float, collections: Sequence[str]) -> Maintenance:
    with store.readable(table):
        path = str(store.path(table))
        before = len(DeltaTable(path).file_uris())
        present = store.collections(table)
        for collection in present:
            with collection_lock(store.home, collection), store.committing(table):
                DeltaTable(path).optimize.compact(
                    partition_filters=[("collection", "=", collection)],
                    target_size=FILE_BYTES,
                    writer_properties=WriterProperties(max_row_group_size=ROW_GROUP_ROWS),
                    commit_properties=CommitProperties(custom_metadata={"collection": collection}),
                )
        with ExitStack() as stack:
            for collection in sorted({*present, *collections}):
                stack.enter_context(collection_lock(store.home, collection))
            stack.enter_context(store.committing(table))
            delta = DeltaTable(path)
            hours = max(SHORTEST_HOURS, round(history_days * HOURS_A_DAY))
            unused = delta.vacuum(hours, dry_run=True, enforce_retention_duration=False)
            sizes = _sizes(store, table, unused)
            removed = delta.vacuum(hours, dry_run=False, enforce_retention_duration=False)
            delta.create_checkpoint()
            delta.cleanup_metadata()
        return Maintenance(
            table=table,
            files_before=before,
            files_after=len(DeltaTable(path).file_uris()),
            files_removed=len(removed),
            bytes_removed=sizes,
        )


def _sizes(store: TableStore, table: str, names: Sequence[str]) -> int:
    files = [store.path(table) / name for name in names]
    return sum(file.stat().st_size for file in files if file.exists())
