"""Where a run is stopped or killed: at a commit of a table, in any state that a kill can leave it in, or at a file."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from embedder_assets.tables.store import TableStore

# How far a commit has come. delta-rs writes each file under its name with "#1" behind it, then renames or links it.
STATES = ["not begun", "one file half written", "files written", "entry half written", "entry linked", "committed"]
_FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.utime", "shutil.rmtree"}


@dataclass(frozen=True)
class Moment:
    """When something is done to a run, and what.

    Attributes:
        deed: ``kill`` or ``pause``; a run that pauses says so, and goes on when the test says so.
        commit: Number of the commit, from 1; 0: not at a commit.
        state: How far that commit has come, one of ``STATES``; a pause is always at ``committed``.
        operation: Number of the operation on a file of the home that Python does, from 1; 0: not at one.
        seed: Of what is left to chance, for example how much of a file is written.
    """

    deed: str
    commit: int = 0
    state: str = "committed"
    operation: int = 0
    seed: int = 0

    @property
    def words(self) -> str:
        """For the log."""
        if self.operation:
            return f"{self.deed} at operation {self.operation} on a file"
        return f"{self.deed} at commit {self.commit}, {self.state}"


def watch(moment: Moment, home: Path, talk: Connection) -> None:
    """Lets a moment come in this process."""
    if moment.operation:
        sys.addaudithook(_Operations(moment, str(home)))
    else:
        _watch_commits(moment, talk)


class _Operations:
    """Kills the process before an operation on a file of the home; delta-rs and SQLite are not seen here."""

    def __init__(self, moment: Moment, home: str) -> None:
        self._moment = moment
        self._home = home
        self._seen = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS and str(arguments[0]).startswith(self._home):
            self._seen += 1
            if self._seen == self._moment.operation:
                _die()


def _watch_commits(moment: Moment, talk: Connection) -> None:
    real = TableStore.committing
    commits = iter(range(1, sys.maxsize))

    @contextmanager
    def committing(store: TableStore, table: str, collection: str | None = None) -> Iterator[Any]:
        with real(store, table, collection) as base:
            ours = next(commits) == moment.commit
            if ours and moment.state == "not begun":
                _die()
            before = _files(store.path(table))
            yield base
            if ours and moment.deed == "kill":
                _undo(store.path(table), before, moment)
                _die()
        if ours:
            talk.send("paused")
            talk.recv()

    TableStore.committing = committing  # type: ignore[method-assign]


def _undo(table: Path, before: set[Path], moment: Moment) -> None:
    """Puts the files of a commit that was made into an earlier state of it.

    A commit that also wrote a checkpoint, or an entry next to its own, is left: it would have to be undone in parts.
    """
    new = sorted(_files(table) - before)
    entries = [file for file in new if file.parent.name == "_delta_log"]
    if len(entries) != 1 or moment.state == "committed":
        return
    (entry,) = entries
    chance = random.Random(moment.seed)
    if moment.state == "entry linked":
        os.link(entry, f"{entry}#1")
        return
    if moment.state == "entry half written":
        _half(entry, chance)
        return
    entry.unlink()
    rows = [file for file in new if file != entry]
    if rows and moment.state == "one file half written":
        _half(rows[-1], chance)


def _half(file: Path, chance: random.Random) -> None:
    unfinished = file.with_name(f"{file.name}#1")
    file.rename(unfinished)
    os.truncate(unfinished, chance.randint(0, unfinished.stat().st_size))


def _files(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
