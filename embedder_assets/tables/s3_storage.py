"""Tables and staged rows in a bucket that speaks S3, for several hosts.

A commit is a conditional put: of two writers of one version the store takes one and refuses the other. Endpoint and
credentials come from AWS's own variables, which delta-rs and polars read themselves; nothing here holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from urllib.parse import quote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from embedder_assets.tables.file_errors import FILE_ERRORS
from embedder_assets.tables.object_store import (
    PROBE_RETRIES,
    object_store_error,
    open_bucket,
    plain_http,
    translate_object_store_errors,
)
from embedder_assets.tables.staging import FOLDER, KEPT_DAYS, Staging

# Requests of one reader at a time: what is staged are many small objects.
READERS = 8


@dataclass
class _Opened:
    """A table that was read, and one that looks for newer commits: looking moves it on."""

    delta: DeltaTable
    scout: DeltaTable | None = None


class S3Storage:
    """A ``TableStorage`` in an object store.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/prefix``.
    """

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.reading = {"allow_http": str(plain_http()).lower()}
        self.writing = {**self.reading, "conditional_put": "etag"}
        self._opened: dict[str, _Opened] = {}

    def __str__(self) -> str:
        return self._url

    def address(self, table: str) -> str:
        """The table's URL."""
        return f"{self._url}/{table}"

    def exists(self, table: str) -> bool:
        """Whether the table has been opened here, or its log has a version."""
        if table in self._opened:
            return True
        if not DeltaTable.is_deltatable(self.address(table), self.writing):
            return False
        try:
            # What is called like a log may hold no commit.
            self.newest(table)
        except TableNotFoundError:
            return False
        return True

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Reads the table's log."""
        return DeltaTable(self.address(table), version=version, storage_options=self.writing)

    def newest(self, table: str) -> DeltaTable:
        """Lists what follows the version that is known; reads the log only where something does."""
        known = self._opened.get(table)
        if known is None:
            known = self._opened[table] = _Opened(self.open(table))
            return known.delta
        if known.scout is None:
            known.scout = self.open(table)
        else:
            known.scout.update_incremental()
        if known.scout.version() != known.delta.version():
            known.delta = self.open(table)
        return known.delta

    def file(self, table: str, name: str) -> str:
        """A URL."""
        return f"{self.address(table)}/{name}"

    def staging(self, table: str, collection: str, fingerprint: str) -> StagedObjects:
        """Staged rows as objects, next to the tables."""
        return StagedObjects(self._url, self.reading, table, collection, fingerprint)

    def delete_staged(self, collection: str | None = None) -> None:
        """Removes what is staged of a collection, or what was written over a week ago."""
        delete_objects(self._url, collection)

    def check_access(self) -> None:
        """Lists a folder of the bucket, whether there is a table or not."""
        DeltaTable.is_deltatable(self._url, {**self.reading, "max_retries": str(PROBE_RETRIES)})


class StagedObjects(Staging):
    """Staged rows below ``staging`` in the bucket of the tables, for all hosts that share it.

    Args:
        url: ``s3://bucket`` or ``s3://bucket/prefix``, of the tables.
        reading: The options with which polars reads an object there.
        table: Name of the table.
        collection: The collection.
        fingerprint: Of the model, or of what else made the rows.
    """

    def __init__(self, url: str, reading: dict[str, str], table: str, collection: str, fingerprint: str) -> None:
        self._url = url
        self._reading = reading
        self._prefix = f"{FOLDER}/{table}/{_key(collection)}/{fingerprint}"
        self.address = f"{url}/{self._prefix}"

    def clear(self) -> None:
        """Forgets everything, after it was published. What other models have here stays."""
        self._delete(self._names())

    def _put(self, name: str, rows: pl.DataFrame) -> None:
        import obstore

        body = BytesIO()
        rows.write_parquet(body)
        with translate_object_store_errors(f"staged rows at {self.address}"):
            obstore.put(open_bucket(self._url), f"{self._prefix}/{name}", body.getvalue())

    def _names(self) -> list[str]:
        import obstore

        with translate_object_store_errors(f"staged rows at {self.address}"):
            listed = obstore.list(open_bucket(self._url), prefix=f"{self._prefix}/")
            return sorted(meta["path"].rpartition("/")[2] for chunk in listed for meta in chunk)

    def _frames(self, names: Sequence[str], columns: list[str]) -> Iterator[pl.DataFrame]:
        with ThreadPoolExecutor(READERS, thread_name_prefix="staged") as readers:
            for start in range(0, len(names), READERS):
                some = names[start : start + READERS]
                read = readers.map(lambda name: self._frame(name, columns), some)
                yield from (frame for frame in read if frame is not None)

    def _frame(self, name: str, columns: list[str]) -> pl.DataFrame | None:
        try:
            return pl.read_parquet(f"{self.address}/{name}", columns=columns, glob=False, storage_options=self._reading)
        except FILE_ERRORS as error:
            # Where the store does not answer, nothing is known of the object.
            if (store_error := object_store_error(f"staged rows at {self.address}", str(error))) is not None:
                raise store_error from error
            self._delete([name])
            return None

    def _delete(self, names: Sequence[str]) -> None:
        _delete(self._url, [f"{self._prefix}/{name}" for name in names])


def delete_objects(url: str, collection: str | None = None) -> None:
    """Removes what is staged of a collection; by default, of any, the objects that were written over a week ago."""
    import obstore

    oldest = datetime.now(UTC) - timedelta(days=KEPT_DAYS)
    own = None if collection is None else _key(collection)
    with translate_object_store_errors(f"staged rows at {url}/{FOLDER}"):
        listed = [meta for chunk in obstore.list(open_bucket(url), prefix=f"{FOLDER}/") for meta in chunk]
    unused = [
        meta["path"]
        for meta in listed
        if (meta["last_modified"] < oldest if own is None else meta["path"].split("/")[2] == own)
    ]
    _delete(url, unused)


def _delete(url: str, paths: Sequence[str]) -> None:
    import obstore

    if paths:
        with translate_object_store_errors(f"staged rows at {url}/{FOLDER}"):
            obstore.delete(open_bucket(url), list(paths))


def _key(collection: str) -> str:
    """A collection's part of a key, of characters that no library writes in another way."""
    return quote(collection, safe="").replace("%", "=")
