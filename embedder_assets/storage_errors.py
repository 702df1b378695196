"""What goes wrong with Dagster's storage, said in one sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from embedder_assets.errors import EmbedderError, StackError


@contextmanager
def storage_told(folder: Path, *, opening: bool = False) -> Iterator[None]:
    """Turns the errors of a storage into ours.

    Args:
        folder: The ``DAGSTER_HOME``.
        opening: The storage is being opened, so whatever fails is about its configuration.

    Raises:
        StackError: The database does not do what it is asked, or cannot be opened as it is configured.
    """
    try:
        yield
    except EmbedderError:
        raise
    except Exception as error:  # the configuration may name any class, and so raise anything
        failed = _database_error(error)
        if failed is not None:
            raise StackError(
                f"Dagster's storage at {folder}",
                expected="to take and give the events of runs",
                got=_in_one_line(str(failed.orig)),
                remedy="What was computed is kept. Check free space and permissions, with PostgreSQL that the server "
                "answers, then run again.",
            ) from error
        if opening:
            raise StackError(
                f"Dagster's storage as {folder / 'dagster.yaml'} names it",
                expected="to open",
                got=_in_one_line(str(error)),
                remedy="Correct it; docs/how-to/postgres.md shows what PostgreSQL needs.",
            ) from error
        raise


def _database_error(error: BaseException | None) -> DBAPIError | None:
    """The database's own words: Dagster's library for PostgreSQL wraps them after some tries."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return error


def _in_one_line(text: str) -> str:
    # Dagster adds the stack to a mistake in the configuration.
    return " ".join(text.partition("Stack Trace:")[0].split())
