"""Frames of a table's rows, as they are read, made to fit, counted and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from embedder_assets.errors import TableError
from embedder_assets.tables.digest_ranges import COLUMN as DIGEST
from embedder_assets.tables.schemas import SCHEMAS

Rows = pl.DataFrame | Iterable[pl.DataFrame]


def scan(table: str, files: list[str], storage_options: dict[str, str] | None) -> pl.LazyFrame:
    """The rows of some files of a table; a column that is younger than a file is null there."""
    if not files:
        return pl.LazyFrame(schema=SCHEMAS[table])
    return pl.scan_parquet(
        files,
        glob=False,
        schema=SCHEMAS[table],
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=True,
        hive_schema={"collection": pl.String()},
        storage_options=storage_options,
    )


def conform(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the columns and types of a table.

    Raises:
        TableError: A column is missing.
    """
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


def conforming_frames(table: str, rows: Rows) -> Iterator[pl.DataFrame]:
    """Frames that have rows, as the table takes them."""
    for frame in [rows] if isinstance(rows, pl.DataFrame) else rows:
        if frame.height:
            whole = conform(table, frame)
            yield whole.sort(DIGEST) if {DIGEST, "chunk_id"} <= whole.schema.keys() else whole


class CountedFrames:
    """Frames, with the number of rows that have gone by."""

    def __init__(self, frames: Iterable[pl.DataFrame]) -> None:
        self._frames = frames
        self.rows = 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for frame in self._frames:
            self.rows += frame.height
            yield frame


def take_rows(frames: Iterator[pl.DataFrame], rows: int) -> tuple[list[pl.DataFrame], Iterator[pl.DataFrame] | None]:
    """Frames up to a number of rows, and the others; None where there is no other."""
    taken, height = [], 0
    for frame in frames:
        taken.append(frame)
        height += frame.height
        if height > rows:
            return taken, frames
    return taken, None


def same_rows(current: pl.DataFrame, rows: pl.DataFrame) -> bool:
    """Whether two frames have the same rows, in any order."""
    if current.height != rows.height:
        return False
    keys = [name for name, data_type in rows.schema.items() if not isinstance(data_type, pl.List)]
    return current.sort(keys).equals(rows.sort(keys))
