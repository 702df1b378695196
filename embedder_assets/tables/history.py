"""Earlier versions of the tables: which there are, how one comes back, and whether a run has read one that is outdated.

The steps of a run alternate with those of other runs, so another one may commit newer rows between two of them. What
the run had left to do is then that one's work, whose own checks judge it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deltalake.exceptions import DeltaError

from embedder_assets.errors import CommitConflictError, StorageError, TableError, did_you_mean
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from embedder_assets.tables.transaction import MADE_FROM, run_exclusively

# What delta-rs calls the rows that a commit added and removed, by kind of operation.
_ADDED = ("num_added_rows", "num_target_rows_inserted")
_REMOVED = ("num_deleted_rows", "num_target_rows_deleted")
# Operations that leave every row as it is.
_NO_ROWS = {"CREATE TABLE", "OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"}


@dataclass(frozen=True)
class Version:
    """One commit of a table.

    Attributes:
        version: From 0.
        at: When it was made, UTC.
        operation: In Delta's words: WRITE, MERGE, DELETE, OPTIMIZE, RESTORE …
        collection: What it changed, where it was one collection.
        added: Rows that it added, where Delta counts them.
        removed: Rows that it took, where Delta counts them.
    """

    table: str
    version: int
    at: datetime
    operation: str
    collection: str | None
    added: int | None
    removed: int | None


@dataclass(frozen=True)
class Commit:
    """A commit that may have changed rows of one collection.

    Attributes:
        version: That it made.
        until: The last version that has the collection's rows as this commit left them.
        at: When it was made, UTC, by the clock of then.
        made_from: The versions of other tables that its rows were made from; empty where it does not say so.
    """

    version: int
    until: int
    at: datetime
    made_from: Mapping[str, int]


def commits_of(store: TableStore, table: str, collection: str, limit: int | None = None) -> list[Commit]:
    """The commits that may have changed rows of a collection, the newest first; those of compaction are none.

    Args:
        store: The tables.
        table: Name of the table; one that is not there has no commits.
        collection: The collection.
        limit: Looks only at so many of the table's newest versions.

    Raises:
        TableError: The table's log cannot be read.
    """
    if not store.exists(table):
        return []
    with store.readable(table):
        opened = store.storage.open(table)
        history = sorted(opened.history(limit), key=lambda commit: int(commit["version"]), reverse=True)
        until = opened.version()
    found = []
    for commit in history:
        # Who does not say which collection it was about may have changed any.
        if commit["operation"] not in _NO_ROWS and commit.get("collection", collection) == collection:
            made_from = json.loads(commit.get(MADE_FROM) or "{}")
            found.append(Commit(int(commit["version"]), until, _instant(commit), made_from))
            until = found[-1].version - 1
    return found


def changed_since(store: TableStore, table: str, collection: str, version: int) -> Commit | None:
    """The newest commit to a collection after a version of a table; None where there is none.

    A table that was deleted and written anew counts as changed.
    """
    if not store.exists(table):
        return None
    with store.readable(table):
        later = store.newest(table).version() - version
    if later < 0:
        return next(iter(commits_of(store, table, collection, 1)), None)
    return next(iter(commits_of(store, table, collection, later)), None) if later else None


def versions(store: TableStore, tables: Sequence[str] = (), limit: int | None = None) -> Iterator[Version]:
    """The versions of some tables, or of all that there are, the newest first.

    Raises:
        TableError: There is no table of that name, or its log cannot be read.
    """
    for table in [_existing(store, name) for name in tables] or [name for name in SCHEMAS if store.exists(name)]:
        with store.readable(table):
            commits = store.storage.open(table).history(limit)
        for commit in commits:
            yield _version(table, commit)


def restore(
    store: TableStore, table: str, target: int | datetime, collection: str | None = None, *, locks: Sequence[str] = ()
) -> int | None:
    """Makes an earlier version of a table, or of one of its collections, the newest one.

    No run works on these collections meanwhile: their locks are held. The earlier state itself stays in the history.

    Args:
        store: The tables.
        table: Name of the table.
        target: A version, or a time: then the version that was the newest at that time.
        collection: Only its rows; those of others stay as they are.
        locks: The collections that a run may be working on.

    Returns:
        The version that was restored; None where it is the newest one already, and nothing was done.

    Raises:
        TableError: There is no such table or version, or its files are gone.
    """
    known = _existing(store, table)
    names = [collection] if collection else {*locks, *store.collections(known)}
    return run_exclusively(store, names, lambda tables: _restored(tables, known, target, collection))


def _restored(store: TableStore, table: str, target: int | datetime, collection: str | None) -> int | None:
    number = _number(store, table, target)
    with store.readable(table):
        newest = store.storage.open(table).version()
    if number == newest:
        return None
    earlier = store.storage.open(table, number)
    try:
        if collection is None:
            with store.committing(table):
                store.storage.open(table).restore(number)
        else:
            store.overwrite(table, collection, store.batches_of(table, earlier, collection))
    except (CommitConflictError, StorageError):
        raise
    except (DeltaError, OSError, TableError) as error:
        raise TableError(
            f"version {number} of table '{table}'",
            expected="files that are all there",
            got=str(error),
            remedy="Maintenance keeps earlier versions for EMBEDDER_HISTORY_DAYS. The table is as it was; "
            "`embedder tables history` shows newer versions.",
        ) from error
    return number


def _existing(store: TableStore, table: str) -> str:
    there = [name for name in SCHEMAS if store.exists(name)]
    if table in there:
        return table
    raise TableError(
        f"table '{table}'",
        expected=f"one of: {', '.join(there) or 'none has been materialized yet'}",
        got="no such table",
        remedy=did_you_mean(table, there, "`embedder tables history` shows what there is."),
    )


def _number(store: TableStore, table: str, target: int | datetime) -> int:
    """The version that is meant, if it is there."""
    known = list(versions(store, [table]))
    if isinstance(target, int):
        found = [each.version for each in known if each.version == target]
        wanted = f"version {target}"
    else:
        found = [each.version for each in known if each.at <= target]
        wanted = f"a version of {target:%Y-%m-%d %H:%M:%S} UTC or before"
    if not found:
        oldest, newest = known[-1], known[0]
        raise TableError(
            f"{wanted} of table '{table}'",
            expected=f"one of {oldest.version} ({oldest.at:%Y-%m-%d %H:%M:%S}) to {newest.version}",
            got="no such version",
            remedy=f"`embedder tables history {table}` shows all that there are.",
        )
    return max(found)


def _version(table: str, commit: dict[str, Any]) -> Version:
    metrics = commit.get("operationMetrics") or {}

    def counted(names: Sequence[str]) -> int | None:
        return next((int(metrics[name]) for name in names if metrics.get(name) is not None), None)

    return Version(
        table=table,
        version=int(commit["version"]),
        at=_instant(commit),
        operation=str(commit["operation"]),
        collection=commit.get("collection"),
        added=counted(_ADDED),
        removed=counted(_REMOVED),
    )


def _instant(commit: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)


class VersionTracker:
    """The versions of the tables that the steps of one run have read or made, by collection.

    The first version of a table counts: a later step that reads newer rows must not hide that the earlier ones did not.

    Attributes:
        left_to_others: The collections that a step has left to another run, each with the sentence that says why.
    """

    def __init__(self) -> None:
        self.left_to_others: dict[str, str] = {}
        self._versions: dict[str, dict[str, int]] = {}

    def record(self, store: TableStore, collection: str, tables: Iterable[str]) -> dict[str, int]:
        """Records the versions of some tables that a step has read or made, while nobody else works on the collection.

        Args:
            store: The tables.
            collection: What the step worked on.
            tables: Their names; names of what is no table are left out.

        Returns:
            Table to version: what another process needs for ``merge``.
        """
        versions = {table: store.version(table) for table in tables if table in SCHEMAS}
        self.merge(collection, versions)
        return versions

    def merge(self, collection: str, versions: Mapping[str, int]) -> None:
        """Takes over what another process of the run has recorded, in any order."""
        known = self._versions.setdefault(collection, {})
        for table, version in versions.items():
            known[table] = min(version, known.get(table, version))

    def change_by_others(self, store: TableStore, collection: str) -> str | None:
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
