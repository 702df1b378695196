"""Where a stage keeps computed rows until all of a collection's are there.

A stage writes the rows of a few requests at a time here and publishes them to its table in one commit at the end. So a
reader never sees half a collection, and a run that was killed loses only the last few requests: the next run finds the
rest here. The rows of a model that is only a candidate yet wait here too, until it is chosen or forgotten.

Computed vectors are staged where the tables are. So shards of a collection may be computed by several hosts, and a run
that goes on for one that was killed may do so on another host. Documents and chunks, which are quick, are staged in the
home.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import polars as pl

from embedder_assets.errors import TableError
from embedder_assets.tables.digest_ranges import COLUMN as DIGEST
from embedder_assets.tables.digest_ranges import DigestRange
from embedder_assets.tables.file_errors import FILE_ERRORS, FREE_SPACE, translate_file_errors

FOLDER = "staging"
# Of a digest, in the names of the files: tells which range a file's rows are of.
PREFIX_DIGITS = 8
# Bounds what models cost that nobody chose.
KEPT_DAYS = 7
DAY_S = 24 * 60 * 60


class Staging(ABC):
    """Rows of one table, one collection and one model fingerprint, as Parquet files.

    Attributes:
        address: Where they are, as a person names it.
    """

    address: str

    def append(self, rows: pl.DataFrame) -> None:
        """Keeps a micro-batch, at least one row with a digest of its text; it is there whole or not at all."""
        first, last = str(rows[DIGEST].min())[:PREFIX_DIGITS], str(rows[DIGEST].max())[:PREFIX_DIGITS]
        with translate_file_errors(
            f"staged rows in {self.address}", expected="a place that takes them", remedy=FREE_SPACE
        ):
            self._put(f"{first}-{last}-{uuid.uuid4().hex}.parquet", rows)

    def read(self, schema: dict[str, pl.DataType], within: DigestRange | None = None) -> pl.DataFrame:
        """The columns of ``schema`` of everything kept so far, or of what may be in a range of digests.

        A file that cannot be read is dropped: its rows are computed again.
        """
        files = [name for name in self._names() if within is None or _overlaps(name, within)]
        frames = list(self._frames(files, list(schema)))
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def frames(self, schema: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
        """The same as ``read``, one file after the other."""
        yield from self._frames(self._names(), list(schema))

    @abstractmethod
    def clear(self) -> None:
        """Forgets everything, after it was published. What other models have here stays."""

    @abstractmethod
    def _put(self, name: str, rows: pl.DataFrame) -> None: ...

    @abstractmethod
    def _names(self) -> list[str]:
        """Sorted."""

    @abstractmethod
    def _frames(self, names: Sequence[str], columns: list[str]) -> Iterator[pl.DataFrame]:
        """The frames of those files that can be read; the others are dropped."""


class StagedFiles(Staging):
    """In a folder of this machine.

    Args:
        root: The folder of everything that is staged.
        table: Name of the table.
        collection: The collection.
        fingerprint: Of the model, or of what else made the rows.
    """

    def __init__(self, root: Path, table: str, collection: str, fingerprint: str) -> None:
        self.folder = root / table / quote(collection, safe="") / fingerprint
        self.address = str(self.folder)

    def clear(self) -> None:
        """Forgets everything, after it was published. What other models have here stays."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, name: str, rows: pl.DataFrame) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{name}.unfinished"
        try:
            rows.write_parquet(unfinished)
            unfinished.rename(self.folder / name)
        finally:
            unfinished.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return sorted(file.name for file in self.folder.glob("*.parquet"))

    def _frames(self, names: Sequence[str], columns: list[str]) -> Iterator[pl.DataFrame]:
        for name in names:
            file = self.folder / name
            try:
                os.utime(file)
                yield pl.read_parquet(file, columns=columns, glob=False)
            except FILE_ERRORS:
                file.unlink(missing_ok=True)


def missing_rows_error(thing: str, expected: int, got: int, address: str) -> TableError:
    """The error of a stage that does not find the rows that it has staged.

    Args:
        thing: The rows, by the name the user knows.
        expected: How many there have to be.
        got: How many there are.
        address: Where they were staged.
    """
    return TableError(
        thing,
        expected=f"{expected} rows",
        got=f"{got}: files in {address} have gone or are damaged",
        remedy="Nothing was published. Run again: what is missing is made anew.",
    )


def delete_files(root: Path, collection: str | None = None) -> None:
    """Removes what is staged of a collection; by default, of any, the files that nobody wrote or read for a week."""
    if collection is not None:
        for staged in root.glob(f"*/{quote(collection, safe='')}"):
            shutil.rmtree(staged, ignore_errors=True)
        return
    now = time.time()
    for file in root.glob("*/*/*/*"):
        try:
            age_s = now - file.stat().st_mtime
            if age_s > KEPT_DAYS * DAY_S:
                file.unlink()
            elif age_s < 0:  # written by a clock that was ahead: it ages from now on
                os.utime(file)
        except FileNotFoundError:  # another run has published it
            continue


def _overlaps(name: str, within: DigestRange) -> bool:
    first, last, *_ = name.split("-")
    # A prefix stands for the largest digest that begins with it too.
    return within.overlaps(first, f"{last}~")
