"""Where a stage keeps computed rows until all of a collection's are there.

A stage writes the rows of a few requests at a time here and publishes them to its table in one commit at the end. So a
reader never sees half a collection, and a run that was killed loses only the last few requests: the next run finds the
rest here.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from urllib.parse import quote

import polars as pl


class Staging:
    """Rows of one table, one collection and one model fingerprint, as Parquet files."""

    def __init__(self, home: Path, table: str, collection: str, fingerprint: str) -> None:
        self.folder = home / "staging" / table / quote(collection, safe="") / fingerprint

    def append(self, rows: pl.DataFrame) -> None:
        """Keeps a micro-batch; it is there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        unfinished = self.folder / f"{name}.unfinished"
        rows.write_parquet(unfinished)
        unfinished.rename(self.folder / f"{name}.parquet")

    def read(self, schema: dict[str, pl.DataType]) -> pl.DataFrame:
        """Everything kept so far. A file that cannot be read is dropped: its rows are computed again."""
        frames = [frame for file in sorted(self.folder.glob("*.parquet")) if (frame := _read(file)) is not None]
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def clear(self) -> None:
        """Forgets everything, after it was published, and what an earlier model has left."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def _read(file: Path) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        file.unlink(missing_ok=True)
        return None
