"""Reads and writes the Delta Lake tables, each partitioned by collection. Every change is one atomic commit.

Nothing here holds a whole collection of any size: rows come and go as frames, one after the other. The exceptions,
``read`` without a condition and ``replace``, are for tables that do not grow with the documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
from arro3.core import RecordBatchReader
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake

from embedder_assets.errors import TableError
from embedder_assets.tables.broken import FREE_SPACE, guarded
from embedder_assets.tables.lock import table_lock
from embedder_assets.tables.ranges import COLUMN as DIGEST
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.snapshots import Snapshots
from embedder_assets.tables.stream import write_stream

Rows = pl.DataFrame | Iterable[pl.DataFrame]

# A merge of delta-rs reads all rows of the collection into memory; above this many they are written anew, as a stream.
MERGE_ROWS = 100_000
# Small enough to be read whole, large enough that a million vectors are some fifty files.
FILE_BYTES = 32 * 2**20
# Rows that Parquet can leave out of a read together, see ``ranges``.
ROW_GROUP_ROWS = 4096


class TableStore:
    """All tables of one ``EMBEDDER_HOME``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "tables"
        self._snapshots = Snapshots()

    def path(self, table: str) -> Path:
        """The folder of a table."""
        return self.folder / table

    def exists(self, table: str) -> bool:
        """Whether the table has been written."""
        log = self.path(table) / "_delta_log"
        return log.is_dir() and any(log.iterdir())

    def collections(self, table: str) -> list[str]:
        """The collections that have rows in a table, sorted."""
        if not self.exists(table):
            return []
        with self.readable(table):
            return sorted(str(part["collection"]) for part in self._snapshots.newest(self.path(table)).partitions())

    def read(
        self,
        table: str,
        collection: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """The rows of one collection, empty with the right columns when there are none.

        Args:
            table: Name of the table.
            collection: The collection.
            columns: The columns that are wanted; all by default.
            where: Which rows are wanted; others are left out while reading, not after it.
            limit: How many rows are wanted at most; which ones is left open.

        Raises:
            TableError: The table's files cannot be read.
        """
        schema = SCHEMAS[table]
        wanted = list(columns or schema)
        if not self.exists(table):
            return pl.DataFrame(schema=schema).select(wanted)
        with self.readable(table):
            rows = self._scan(table).filter(pl.col("collection") == collection)
            rows = rows if where is None else rows.filter(where)
            rows = rows if limit is None else rows.head(limit)
            return rows.select(pl.col(name).cast(schema[name]) for name in wanted).collect()

    def count(self, table: str, collection: str) -> int:
        """The number of rows of one collection."""
        if not self.exists(table):
            return 0
        with self.readable(table):
            rows = self._scan(table).filter(pl.col("collection") == collection)
            return int(rows.select(pl.len()).collect().item())

    def batches(
        self, table: str, collection: str, columns: Sequence[str] | None = None, *, where: pl.Expr | None = None
    ) -> Iterator[pl.DataFrame]:
        """The same rows as ``read``, the table's files one after the other; frames without rows are left out.

        The rows are those of the version that is the newest when the first frame is asked for.
        """
        if not self.exists(table):
            return
        with self.readable(table):
            delta = self._snapshots.newest(self.path(table))
        yield from self.batches_of(table, delta, collection, columns, where=where)

    def batches_of(
        self,
        table: str,
        delta: DeltaTable,
        collection: str,
        columns: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The same of a version of the table that was opened."""
        schema = SCHEMAS[table]
        with self.readable(table):
            files = self._files(table, delta, collection)
        for file in files:
            with self.readable(table):
                rows = self._scan_files(table, [file])
                rows = rows if where is None else rows.filter(where)
                frame = rows.select(pl.col(name).cast(schema[name]) for name in columns or schema).collect()
            if frame.height:
                yield frame

    def replace(self, table: str, collection: str, rows: pl.DataFrame) -> bool:
        """Makes ``rows`` the collection's only rows. Writes nothing, and returns False, when they already are."""
        rows = self._conform(table, rows)
        if self.exists(table) and self._holds(table, collection, rows):
            return False
        if not rows.height and not self.exists(table):
            # A table that was computed and has no row is there, and not missing.
            with self.committing(table):
                rows.write_delta(self.path(table), mode="append", delta_write_options=_PARTITIONED)
        self.overwrite(table, collection, [rows])
        return True

    def append(self, table: str, rows: Rows) -> None:
        """Adds rows in one commit; none at all make no commit."""
        self._write(table, self._frames(table, rows), None, mode="append")

    def exchange(self, table: str, collection: str, added: Rows, removed: pl.DataFrame) -> int:
        """Adds rows to a collection and removes others in one commit, a plain append where none is removed.

        Args:
            table: Name of the table.
            collection: The collection.
            added: New rows. Frames are taken one after the other.
            removed: Some of the table's columns: rows that agree with a row of this frame in all of them go.

        Returns:
            How many rows were removed.
        """
        frames = self._frames(table, added)
        if not removed.height:
            self._write(table, frames, collection, mode="append")
            return 0
        present = self.count(table, collection)
        first, rest = _taken(frames, MERGE_ROWS)
        if present <= MERGE_ROWS and rest is None:
            return self._merge(table, collection, pl.concat(first) if first else None, removed)
        kept = self.batches(table, collection)
        kept = (frame.join(removed, on=removed.columns, how="anti", nulls_equal=True) for frame in kept)
        old = _Counted(kept)
        self.overwrite(table, collection, chain(old, first, rest or ()))
        return present - old.rows

    def remove(self, table: str, collection: str) -> int:
        """Removes all rows of a collection in one commit and returns how many there were."""
        present = self.count(table, collection)
        if present:
            with self.committing(table):
                DeltaTable(str(self.path(table))).delete(_of(collection), commit_properties=_about(collection))
        return present

    def _merge(self, table: str, collection: str, added: pl.DataFrame | None, removed: pl.DataFrame) -> int:
        # A row without a collection is one to remove: so both kinds are one source, and the merge one commit.
        none = pl.DataFrame(schema=SCHEMAS[table])
        changes = pl.concat([none if added is None else added, removed.unique()], how="diagonal")
        same = " AND ".join(["new.collection IS NULL", *(f'old."{name}" = new."{name}"' for name in removed.columns)])
        with self.committing(table):
            merge = changes.write_delta(
                self.path(table),
                mode="merge",
                delta_merge_options={
                    "predicate": f"old.{_of(collection)} AND {same}",
                    "source_alias": "new",
                    "target_alias": "old",
                    "commit_properties": _about(collection),
                },
            )
            merge = merge.when_matched_delete()
            merge = merge.when_not_matched_insert_all(predicate="new.collection IS NOT NULL")
            return int(merge.execute()["num_target_rows_deleted"])

    def overwrite(self, table: str, collection: str, rows: Rows) -> None:
        """Makes some rows a collection's only ones in one commit, whatever they are."""
        frames = self._frames(table, rows)
        if not self._write(table, frames, collection, mode="overwrite", predicate=_of(collection)):
            self.remove(table, collection)

    def _frames(self, table: str, rows: Rows) -> Iterator[pl.DataFrame]:
        """Frames that have rows, as the table takes them."""
        for frame in [rows] if isinstance(rows, pl.DataFrame) else rows:
            if frame.height:
                whole = self._conform(table, frame)
                yield whole.sort(DIGEST) if {DIGEST, "chunk_id"} <= whole.schema.keys() else whole

    def _write(self, table: str, frames: Iterator[pl.DataFrame], collection: str | None, **how: Any) -> bool:
        """Writes frames in one commit and returns whether there was any."""

        def write(stream: RecordBatchReader) -> None:
            write_deltalake(
                self.path(table),
                stream,
                partition_by=["collection"],
                schema_mode="merge",
                target_file_size=FILE_BYTES,
                writer_properties=WriterProperties(max_row_group_size=ROW_GROUP_ROWS),
                commit_properties=_about(collection),
                **how,
            )

        with self.committing(table):
            return write_stream(frames, write)

    def _holds(self, table: str, collection: str, rows: pl.DataFrame) -> bool:
        """Whether rows are the collection's only rows already."""
        # The digest first, where there is one: rows that differ in it need not all be read and sorted.
        looks = [["input_digest"], rows.columns] if "input_digest" in rows.columns else [rows.columns]
        return all(_same_rows(self.read(table, collection, look), rows.select(look)) for look in looks)

    def _files(self, table: str, delta: DeltaTable, collection: str | None = None) -> list[str]:
        """The files of a version of a table, or of one of its collections."""
        # Named here: deltalake percent-encodes the folder, where pl.scan_delta then looks for them.
        encoded_root = len(delta.table_uri.removeprefix("file://"))
        uris = delta.file_uris(file_pruning_predicate=None if collection is None else _of(collection))
        return [f"{self.path(table)}/{uri[encoded_root:]}" for uri in uris]

    def _scan(self, table: str) -> pl.LazyFrame:
        return self._scan_files(table, self._files(table, self._snapshots.newest(self.path(table))))

    def _scan_files(self, table: str, files: list[str]) -> pl.LazyFrame:
        if not files:
            return pl.LazyFrame(schema=SCHEMAS[table])
        # A file that is older than a column of its table reads as null there.
        return pl.scan_parquet(
            files,
            glob=False,
            schema=SCHEMAS[table],
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=True,
            hive_schema={"collection": pl.String()},
        )

    def readable(self, table: str) -> AbstractContextManager[None]:
        """While the context lasts, files of a table that cannot be read raise a ``TableError``."""
        return guarded(
            f"table '{table}' at {self.path(table)}",
            expected="readable Delta Lake files",
            remedy=f"`embedder tables restore {table}` brings back a former version; or delete the folder: the next "
            "run computes it anew.",
        )

    @contextmanager
    def committing(self, table: str) -> Iterator[None]:
        """While the context lasts, nobody else commits to a table; what cannot be written raises a ``TableError``."""
        with (
            guarded(
                f"table '{table}' at {self.path(table)}",
                expected="to take a commit",
                remedy=f"The table is as it was. {FREE_SPACE}",
            ),
            table_lock(self.home, table),
        ):
            yield

    def _conform(self, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        schema = SCHEMAS[table]
        missing = [name for name in schema if name not in rows.columns]
        if missing:
            raise TableError(
                f"rows for table '{table}'",
                expected=f"the columns {', '.join(schema)}",
                got=f"rows without {', '.join(missing)}",
                remedy="This is a defect of the stage that computed the rows.",
            )
        return rows.select(pl.col(name).cast(data_type) for name, data_type in schema.items())


_PARTITIONED = {"partition_by": ["collection"], "schema_mode": "merge"}


class _Counted:
    """Frames, with the number of rows that have gone by."""

    def __init__(self, frames: Iterable[pl.DataFrame]) -> None:
        self._frames = frames
        self.rows = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for frame in self._frames:
            self.rows += frame.height
            yield frame


def _taken(frames: Iterator[pl.DataFrame], rows: int) -> tuple[list[pl.DataFrame], Iterator[pl.DataFrame] | None]:
    """Frames up to a number of rows, and the others; None where there is no other."""
    taken, height = [], 0
    for frame in frames:
        taken.append(frame)
        height += frame.height
        if height > rows:
            return taken, frames
    return taken, None


def _about(collection: str | None) -> CommitProperties:
    """What the history says of a commit beside its operation."""
    return CommitProperties(custom_metadata={"collection": collection} if collection is not None else None)


def _of(collection: str) -> str:
    """The rows of a collection, in SQL."""
    escaped = collection.replace("'", "''")
    return f"collection = '{escaped}'"


def _same_rows(current: pl.DataFrame, rows: pl.DataFrame) -> bool:
    if current.height != rows.height:
        return False
    keys = [name for name, data_type in rows.schema.items() if not isinstance(data_type, pl.List)]
    return current.sort(keys).equals(rows.sort(keys))
