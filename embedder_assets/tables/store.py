"""Reads and writes the Delta Lake tables, each partitioned by collection. Every change is one atomic commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from embedder_assets.errors import TableError
from embedder_assets.tables.schemas import SCHEMAS


class TableStore:
    """All tables of one ``EMBEDDER_HOME``."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "tables"

    def path(self, table: str) -> Path:
        """The folder of a table."""
        return self.folder / table

    def exists(self, table: str) -> bool:
        """Whether the table has been written."""
        return DeltaTable.is_deltatable(str(self.path(table)))

    def collections(self, table: str) -> list[str]:
        """The collections that have rows in a table, sorted."""
        if not self.exists(table):
            return []
        with self._readable(table):
            frame = self._scan(table).select("collection").unique().collect()
        return sorted(frame["collection"])

    def read(
        self, table: str, collection: str, columns: Sequence[str] | None = None, *, where: pl.Expr | None = None
    ) -> pl.DataFrame:
        """The rows of one collection, empty with the right columns when there are none.

        Args:
            table: Name of the table.
            collection: Name of the collection.
            columns: Those to read; all by default.
            where: A condition that rows have to meet.

        Raises:
            TableError: The table's files cannot be read.
        """
        schema = SCHEMAS[table]
        wanted = list(columns or schema)
        if not self.exists(table):
            return pl.DataFrame(schema=schema).select(wanted)
        with self._readable(table):
            rows = self._scan(table).filter(pl.col("collection") == collection, True if where is None else where)
            return rows.select(pl.col(name).cast(schema[name]) for name in wanted).collect()

    def count(self, table: str, collection: str) -> int:
        """The number of rows of one collection."""
        if not self.exists(table):
            return 0
        with self._readable(table):
            rows = self._scan(table).filter(pl.col("collection") == collection)
            return int(rows.select(pl.len()).collect().item())

    def replace(self, table: str, collection: str, rows: pl.DataFrame) -> bool:
        """Makes ``rows`` the collection's only rows. Writes nothing, and returns False, when they already are."""
        rows = self._conform(table, rows)
        current = self.read(table, collection)
        if self.exists(table) and _same_rows(current, rows):
            return False
        with self._writable(table):
            if not self.exists(table) or not len(current):
                rows.write_delta(self.path(table), mode="append", delta_write_options=_PARTITIONED)
            elif not len(rows):
                DeltaTable(str(self.path(table))).delete(f"collection = {_quoted(collection)}")
            else:
                options = {**_PARTITIONED, "predicate": f"collection = {_quoted(collection)}"}
                rows.write_delta(self.path(table), mode="overwrite", delta_write_options=options)
        return True

    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Adds rows in one commit."""
        rows = self._conform(table, rows)
        with self._writable(table):
            rows.write_delta(self.path(table), mode="append", delta_write_options=_PARTITIONED)

    def delete_rows(self, table: str, collection: str, keys: pl.DataFrame) -> int:
        """Deletes the collection's rows that agree with a row of ``keys`` in all its columns; returns how many."""
        if not keys.height:
            return 0
        same = " AND ".join(f"target.{name} = source.{name}" for name in keys.columns)
        with self._writable(table):
            merge = DeltaTable(str(self.path(table))).merge(
                keys,
                predicate=f"target.collection = {_quoted(collection)} AND {same}",
                source_alias="source",
                target_alias="target",
            )
            return int(merge.when_matched_delete().execute()["num_target_rows_deleted"])

    def _scan(self, table: str) -> pl.LazyFrame:
        delta = DeltaTable(str(self.path(table)))
        # Names the files itself: deltalake percent-encodes the folder, where pl.scan_delta then looks for them.
        encoded_root = len(delta.table_uri.removeprefix("file://"))
        files = [f"{self.path(table)}/{uri[encoded_root:]}" for uri in delta.file_uris()]
        if not files:
            return pl.LazyFrame(schema=SCHEMAS[table])
        return pl.scan_parquet(files, glob=False, hive_partitioning=True, hive_schema={"collection": pl.String()})

    def _readable(self, table: str) -> AbstractContextManager[None]:
        return self._guarded(
            table,
            expected="readable Delta Lake files",
            remedy="Restore the folder from a backup, or delete it: the next run computes it anew.",
        )

    def _writable(self, table: str) -> AbstractContextManager[None]:
        return self._guarded(
            table,
            expected="to take a commit",
            remedy="The table is as it was. Check free space and permissions, then run again.",
        )

    @contextmanager
    def _guarded(self, table: str, *, expected: str, remedy: str) -> Iterator[None]:
        try:
            yield
        except _BROKEN_FILES as error:
            thing = f"table '{table}' at {self.path(table)}"
            raise TableError(thing, expected=expected, got=str(error), remedy=remedy) from error

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


# Polars panics on a Parquet file that was cut short, with an exception that is no Exception.
_BROKEN_FILES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, DeltaError, OSError)
_PARTITIONED = {"partition_by": ["collection"]}


def _quoted(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def _same_rows(current: pl.DataFrame, rows: pl.DataFrame) -> bool:
    if current.height != rows.height:
        return False
    keys = [name for name, data_type in rows.schema.items() if not isinstance(data_type, pl.List)]
    return current.sort(keys).equals(rows.sort(keys))
