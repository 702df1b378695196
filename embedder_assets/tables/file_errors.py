"""Turns what the libraries raise over files that are broken, missing or not to be written into an error that helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
from deltalake.exceptions import DeltaError

from embedder_assets.errors import TableError
from embedder_assets.tables.object_store import object_store_error

# Polars panics on a Parquet file that was cut short, with an exception that is no Exception.
FILE_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, DeltaError, OSError)
FREE_SPACE = "Check free space and permissions, then run again."


@contextmanager
def translate_file_errors(thing: str, *, expected: str, remedy: str) -> Iterator[None]:
    """Raises a ``TableError`` about a thing for whatever goes wrong with its files.

    Args:
        thing: What the error is about.
        expected: What would have been right.
        remedy: What the user can do now.

    Raises:
        StorageError: The files are in an object store, and it is what failed.
    """
    try:
        yield
    except FILE_ERRORS as error:
        if (store_error := object_store_error(thing, str(error))) is not None:
            raise store_error from error
        # Behind the first line comes a backtrace of the library's own.
        got = next(iter(str(error).splitlines()), type(error).__name__)
        raise TableError(thing, expected=expected, got=got, remedy=remedy) from error
