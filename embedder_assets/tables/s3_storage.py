"""Tables in a bucket that speaks S3, for several hosts.

A commit is a conditional put: of two writers of one version the store takes one and refuses the other. Endpoint and
credentials come from AWS's own variables, which delta-rs and polars read themselves; nothing here holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from embedder_assets.tables.object_store import plain_http
from embedder_assets.tables.staged_objects import StagedObjects, forget_objects

# For a look before anything is computed; while it works, delta-rs tries ten times.
_IMPATIENT = {"max_retries": "1"}


@dataclass
class _Opened:
    """A table that was read, and beside it one that looks for newer commits: looking moves it on."""

    delta: DeltaTable
    scout: DeltaTable | None = None


class Bucket:
    """A ``Place`` in an object store.

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
        """Objects beside the tables."""
        return StagedObjects(self._url, self.reading, table, collection, fingerprint)

    def forget_staged(self, collection: str | None = None) -> None:
        """Removes what is staged of a collection, or what was written over a week ago."""
        forget_objects(self._url, collection)

    def reach(self) -> None:
        """Lists a folder of the bucket, whether there is a table or not."""
        DeltaTable.is_deltatable(self._url, {**self.reading, **_IMPATIENT})
