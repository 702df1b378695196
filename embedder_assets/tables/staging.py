"""Where a stage keeps computed rows until all of a collection's are there.

A stage writes the rows of a few requests at a time here and publishes them to its table in one commit at the end. So a
reader never sees half a collection, and a run that was killed loses only the last few requests: the next run finds the
rest here. The rows of a model that is only a candidate yet wait here too, until it is chosen or forgotten.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import polars as pl

from embedder_assets.tables.broken import BROKEN_FILES, FREE_SPACE, guarded
from embedder_assets.tables.ranges import COLUMN as DIGEST
from embedder_assets.tables.ranges import DigestRange

FOLDER = "staging"
# Of a digest, in the names of the files: tells which range a file's rows are of.
PREFIX_DIGITS = 8
# Since a row was last written or read. Bounds the disk that models cost which nobody chose.
KEPT_DAYS = 7
DAY_S = 24 * 60 * 60


class Staging:
    """Rows of one table, one collection and one model fingerprint, as Parquet files."""

    def __init__(self, home: Path, table: str, collection: str, fingerprint: str) -> None:
        self.folder = home / FOLDER / table / quote(collection, safe="") / fingerprint

    def append(self, rows: pl.DataFrame) -> None:
        """Keeps a micro-batch, at least one row with a digest of its text; it is there whole or not at all."""
        first, last = str(rows[DIGEST].min())[:PREFIX_DIGITS], str(rows[DIGEST].max())[:PREFIX_DIGITS]
        name = f"{first}-{last}-{uuid.uuid4().hex}"
        unfinished = self.folder / f"{name}.unfinished"
        with guarded(f"staged rows in {self.folder}", expected="a folder that takes them", remedy=FREE_SPACE):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                rows.write_parquet(unfinished)
                unfinished.rename(self.folder / f"{name}.parquet")
            finally:
                unfinished.unlink(missing_ok=True)

    def read(self, schema: dict[str, pl.DataType], within: DigestRange | None = None) -> pl.DataFrame:
        """The columns of ``schema`` of everything kept so far, or of what may be in a range of digests.

        A file that cannot be read is dropped: its rows are computed again.
        """
        files = [file for file in sorted(self.folder.glob("*.parquet")) if within is None or _overlaps(file, within)]
        frames = [frame for file in files if (frame := _read(file, list(schema))) is not None]
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def frames(self, schema: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
        """The same as ``read``, one file after the other."""
        for file in sorted(self.folder.glob("*.parquet")):
            if (frame := _read(file, list(schema))) is not None:
                yield frame

    def clear(self) -> None:
        """Forgets everything, after it was published. What other models have here stays."""
        shutil.rmtree(self.folder, ignore_errors=True)


def forget_unused(home: Path) -> None:
    """Removes the staged files of any table, collection and model that nobody wrote or read for a week."""
    oldest = time.time() - KEPT_DAYS * DAY_S
    for file in (home / FOLDER).glob("*/*/*/*"):
        try:
            if file.stat().st_mtime < oldest:
                file.unlink()
        except FileNotFoundError:  # another run has published it
            continue


def _overlaps(file: Path, within: DigestRange) -> bool:
    first, last, *_ = file.name.split("-")
    # A prefix stands for the largest digest that begins with it too.
    return within.overlaps(first, f"{last}~")


def _read(file: Path, columns: list[str]) -> pl.DataFrame | None:
    try:
        os.utime(file)
        return pl.read_parquet(file, columns=columns, glob=False)
    except BROKEN_FILES:
        file.unlink(missing_ok=True)
        return None
