"""What ``embedder doctor`` says of the disks that a run writes to, and of Dagster's database."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import create_engine

from embedder_assets.cli.display import BYTES_PER_MIB
from embedder_assets.environment import dagster_home
from embedder_assets.errors import EmbedderError
from embedder_assets.instance.storage_errors import translate_storage_errors
from embedder_assets.settings import Settings

# Less than the tables, exports and event log of a small corpus need, and what Triton unpacks.
FREE_NEEDED_MIB = 100
# Dagster's three databases, with the methods of its instance that give them.
PARTS = {"runs": "run_storage", "events": "event_log_storage", "schedules": "schedule_storage"}

# Of Dagster's default, SQLite.
FILES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
LOCKED_S = 2


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        level: ``problem`` stops a run; ``note`` does not.
        remedy: What to do, empty when all is well.
    """

    level: Literal["ok", "note", "problem"]
    thing: str
    found: str
    remedy: str = ""


def full_disks(settings: Settings) -> Iterator[Diagnosis]:
    """A finding for each place that a run writes to and that has no room, in bytes or in files."""
    remedy = "Free some space there, or set {} to a folder on another disk."
    for thing, place, variable in (
        ("home", settings.home, "EMBEDDER_HOME"),
        ("DAGSTER_HOME", dagster_home(settings), "DAGSTER_HOME"),
        ("the models", settings.model_repository, "EMBEDDER_MODEL_REPOSITORY"),
    ):
        # The folder, or the one above that it would be made in.
        why = _full(next(each for each in (place, *place.parents) if each.exists()))
        if why:
            yield Diagnosis("problem", f"disk of {thing}", f"{place}: {why}", remedy.format(variable))
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:
        tried = os.environ.get("TMPDIR") or "/tmp"
        yield Diagnosis("problem", "temporary files", f"{tried} takes no file", remedy.format("TMPDIR"))
        return
    wanted = os.environ.get("TMPDIR")
    if wanted and Path(wanted).absolute() != temporary:
        yield Diagnosis("note", "temporary files", f"TMPDIR is {wanted}, which takes no file; {temporary} is used")
    why = _full(temporary)
    if why:
        yield Diagnosis("problem", "temporary files", f"{temporary}: {why}", remedy.format("TMPDIR"))


def _full(folder: Path) -> str | None:
    free_mib = shutil.disk_usage(folder).free // BYTES_PER_MIB
    if free_mib < FREE_NEEDED_MIB:
        return f"{free_mib} MiB free, a run needs {FREE_NEEDED_MIB} at least"
    files = os.statvfs(folder)
    if files.f_files and not files.f_favail:
        return "no file more can be made, though there is space (no inode is free)"
    return None


def dagster_database(settings: Settings) -> Iterator[Diagnosis]:
    """Opens Dagster's storage as a run would, and asks each of its databases something; makes none."""
    from embedder_assets.instance.sqlite_event_log import uses_files

    folder = dagster_home(settings)
    try:
        with translate_storage_errors(folder, opening=True):
            if not folder.exists() or (uses_files(folder) and not (folder / "history").exists()):
                yield Diagnosis("ok", "Dagster's database", f"{folder}: the first run makes it")
                return
            for file in filter(Path.exists, (folder / name for name in FILES)):
                _check_write_lock(file)
            yield from _schemas(folder)
    except EmbedderError as error:
        yield Diagnosis("problem", "Dagster's database", f"{folder}: {error.got}", error.remedy)


def _check_write_lock(file: Path) -> None:
    """Takes the lock that a write takes, and gives it back: the file can be written, and nobody holds it for long."""
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": LOCKED_S})
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("ROLLBACK")
    finally:
        engine.dispose()


def _schemas(folder: Path) -> Iterator[Diagnosis]:
    """Whether each database has the tables that this Dagster reads and writes, and answers."""
    from embedder_assets.instance.sqlite_event_log import open_instance

    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
        instance.all_instigator_state()
        instance.get_dynamic_partitions("collections")
        versions = {name: getattr(instance, part).alembic_version() for name, part in PARTS.items()}
    other = {name: pair for name, pair in versions.items() if pair is not None and pair[0] != pair[1]}
    for name, (there, needed) in other.items():
        yield Diagnosis(
            "problem",
            "Dagster's database",
            f"{folder}: the schema of {name} is {there}, this Dagster's is {needed}",
            "`dagster instance migrate` migrates an older one (keep a copy); if a newer Dagster wrote it, "
            "install that one.",
        )
    if not other:
        yield Diagnosis("ok", "Dagster's database", f"{folder} answers")
