"""What two hosts do to one table of a bucket: each way to change the rows of a collection, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from embedder_assets.tables import store as store_module
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_queries

QUERIES = "queries"
Change = Callable[[TableStore, str], object]


def query(text: str, collection: str) -> pl.DataFrame:
    return make_queries(text, collection=collection).with_columns(query_id=pl.lit(text))


def texts(store: TableStore, collection: str) -> list[str]:
    return sorted(store.read(QUERIES, collection)["text"])


def appended(store: TableStore, collection: str) -> object:
    return store.append(QUERIES, query("appended", collection))


def deleted_and_inserted(store: TableStore, collection: str) -> object:
    return store.delete_and_insert(
        QUERIES, collection, query("inserted", collection), pl.DataFrame({"query_id": ["first"]})
    )


def streamed(store: TableStore, collection: str) -> object:
    """The same as frames, as a large collection is."""
    frames = [query("streamed", collection), query("too", collection)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store_module, "MERGE_ROWS", 0)
        return store.delete_and_insert(QUERIES, collection, iter(frames), pl.DataFrame({"query_id": ["first"]}))


def replaced(store: TableStore, collection: str) -> object:
    return store.replace(QUERIES, collection, query("replaced", collection))


def removed(store: TableStore, collection: str) -> object:
    return store.remove(QUERIES, collection)


LEFT = {
    appended: ["appended", "first"],
    deleted_and_inserted: ["inserted"],
    streamed: ["streamed", "too"],
    replaced: ["replaced"],
    removed: [],
}
