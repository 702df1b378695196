"""What goes wrong with Dagster's storage, said in one sentence instead of a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from embedder_assets.errors import EmbedderError, StackError

_PLACE = re.compile(r"at path root:(?:storage:)?([\w:]+)")
_UNSET = re.compile(r'environment variable "(\w+)" which is not set')
_SECRET = re.compile(r"(?i)password|url|secret|token|key|params")


@contextmanager
def translate_storage_errors(folder: Path, *, opening: bool = False) -> Iterator[None]:
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
                got=str(failed.orig),
                remedy=_remedy(str(failed.orig), folder),
            ) from error
        if opening:
            raise StackError(
                f"Dagster's storage as {folder / 'dagster.yaml'} names it",
                expected="to open",
                got=_without_values(error),
                remedy="Correct it; docs/how-to/postgres.md shows what PostgreSQL needs.",
            ) from error
        raise


def _remedy(said: str, folder: Path) -> str:
    if "malformed" in said or "not a database" in said:
        return f"Put back a copy of {folder}, or move it away: the next run makes a new one. The tables do not need it."
    if "locked" in said:
        return "End the process that holds it (`fuser` on the file names it), then run again."
    return (
        "What was computed is kept. Check free space and permissions, with PostgreSQL that the server answers, "
        "then run again."
    )


def _database_error(error: BaseException | None) -> DBAPIError | None:
    """The database's own words: Dagster's library for PostgreSQL wraps them after some tries."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    return error


def _without_values(error: Exception) -> str:
    """What is wrong with the configuration, without Dagster's objects, stack and the values, one of them a password."""
    first = next(iter(getattr(error, "errors", None) or []), error)
    text = str(getattr(first, "message", first)).partition("Stack Trace:")[0]
    place = _PLACE.search(text)
    unset = _UNSET.search(text)
    if unset:
        return f"no value: {place[1] if place else 'it'} names the variable {unset[1]}, which is not set"
    if place and _SECRET.search(place[1]) and "entry" not in text:
        return f"a value of {place[1]} that is not allowed"
    return text.partition(" Expected: ")[0]
