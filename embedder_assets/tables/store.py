"""Reads and writes the Delta Lake tables, each partitioned by collection. Every change is one atomic commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

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
        frame = pl.scan_delta(self.path(table)).select("collection").unique().collect()
        return sorted(frame["collection"])

    def read(self, table: str, collection: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of one collection, empty with the right columns when there are none.

        Raises:
            TableError: The table's files cannot be read.
        """
        schema = SCHEMAS[table]
        wanted = list(columns or schema)
        if not self.exists(table):
            return pl.DataFrame(schema=schema).select(wanted)
        try:
            rows = pl.scan_delta(self.path(table)).filter(pl.col("collection") == collection)
            return rows.select(pl.col(name).cast(schema[name]) for name in wanted).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise TableError(
                f"table '{table}' at {self.path(table)}",
                expected="readable Delta Lake files",
                got=str(error),
                remedy="Restore the folder from a backup, or delete it: the next run computes it anew.",
            ) from error

    def replace(self, table: str, collection: str, rows: pl.DataFrame) -> bool:
        """Makes ``rows`` the collection's only rows. Writes nothing, and returns False, when they already are."""
        rows = self._conform(table, rows)
        current = self.read(table, collection)
        if self.exists(table) and _same_rows(current, rows):
            return False
        if not self.exists(table) or not len(current):
            rows.write_delta(self.path(table), mode="append", delta_write_options=_PARTITIONED)
        elif not len(rows):
            self.delete(table, collection)
        else:
            options = {**_PARTITIONED, "predicate": f"collection = {_quoted(collection)}"}
            rows.write_delta(self.path(table), mode="overwrite", delta_write_options=options)
        return True

    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Adds rows in one commit."""
        self._conform(table, rows).write_delta(
            self.path(table), mode="append", delta_write_options=_PARTITIONED
        )

    def delete(self, table: str, collection: str, condition: str = "true") -> int:
        """Deletes the collection's rows that meet an SQL condition; returns how many."""
        predicate = f"collection = {_quoted(collection)} AND ({condition})"
        metrics = DeltaTable(str(self.path(table))).delete(predicate)
        return int(metrics.get("num_deleted_rows") or 0)

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


_PARTITIONED = {"partition_by": ["collection"]}


def sql_list(values: Sequence[str]) -> str:
    """Values as an SQL list, quoted."""
    return f"({', '.join(_quoted(value) for value in values)})"


def _quoted(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def _same_rows(current: pl.DataFrame, rows: pl.DataFrame) -> bool:
    if current.height != rows.height:
        return False
    keys = [name for name, data_type in rows.schema.items() if not isinstance(data_type, pl.List)]
    return current.sort(keys).equals(rows.sort(keys))
