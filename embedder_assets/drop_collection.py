"""Removes a collection with everything that was made from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from embedder_assets.errors import TableError, did_you_mean
from embedder_assets.export.export import export_folder
from embedder_assets.retrieval.hnsw_index import remove_indexes
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from embedder_assets.tables.transaction import run_exclusively


def collections_with_rows(store: TableStore) -> list[str]:
    """The collections that have rows in any table, sorted."""
    return sorted({name for table in SCHEMAS for name in store.collections(table)})


def rows_of(store: TableStore, collection: str) -> dict[str, int]:
    """Table to rows of a collection, where there are any.

    Raises:
        TableError: The collection has no row at all.
    """
    rows = {table: count for table in SCHEMAS if (count := store.count(table, collection))}
    if rows:
        return rows
    known = collections_with_rows(store)
    raise TableError(
        f"collection '{collection}'",
        expected=f"one of: {', '.join(known) or 'none has rows yet'}",
        got="no rows in any table",
        remedy=did_you_mean(collection, known, "There is nothing to remove."),
    )


def drop_collection(store: TableStore, collection: str) -> dict[str, int]:
    """Removes a collection's rows from every table, its exports and what is staged of it.

    Its rows stay in the history of the tables until maintenance forgets that.

    Returns:
        Table to the rows that were removed.

    Raises:
        TableError: The collection has no row at all, or a table cannot be written.
    """
    return run_exclusively(store, [collection], lambda tables: _drop(tables, collection))


def _remove_exports(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise TableError(
            f"the exports in {folder}",
            expected="a folder that can be removed",
            got=f"{type(error).__name__}: {error.strerror}",
            remedy="No row was removed. Correct the permissions of the folder, then run again.",
        ) from error


def _drop(store: TableStore, collection: str) -> dict[str, int]:
    rows = rows_of(store, collection)
    # What is derived goes first: should this be interrupted, nothing is left that has lost its source.
    _remove_exports(export_folder(store.home, collection))
    for table in reversed(rows):
        store.remove(table, collection)
    remove_indexes(store.home, collection, [])
    store.delete_staged(collection)
    return rows
