"""Moments at which a fault strikes: seeded, and seen from what a run does to its home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.chaos.started import Started
from tests.chaos.world import World, wait_until

WRITTEN = ["documents", "chunks", "dense_embeddings", "sparse_embeddings", "fused_candidates", "reranked_candidates"]


@dataclass(frozen=True)
class Moment:
    """When a fault strikes.

    Attributes:
        words: For the log.
        came: False when the run had ended before.
    """

    words: str
    came: bool


def a_moment(world: World, run: Started) -> Moment:
    """Waits for a moment: a part of a run's usual time, a staged file, or a write or a commit of a table."""
    kind = world.chance.choice(["time", "staging", "write", "commit"])
    if kind == "time":
        return after(world.chance.uniform(0.03, 0.9) * world.pace, run)
    if kind == "staging":
        return _when_new(world.home / "staging", "*", run, "when rows were staged")
    table = world.chance.choice(WRITTEN)
    folder = world.home / "tables" / table
    if kind == "commit":
        return _when_new(folder / "_delta_log", "*", run, f"when {table} was committed")
    return _when_new(folder, "*.parquet", run, f"when a file of {table} was written")


def after(seconds: float, run: Started) -> Moment:
    """Waits for some seconds."""
    wait_until(lambda: False, run, seconds)
    return Moment(f"after {seconds:.1f} s", run.running)


def _when_new(folder: Path, pattern: str, run: Started, words: str) -> Moment:
    before = _names(folder, pattern)
    return Moment(words, wait_until(lambda: not _names(folder, pattern) <= before, run))


def _names(folder: Path, pattern: str) -> set[str]:
    try:
        return {str(path) for path in folder.rglob(pattern)}
    except OSError:  # it changes while it is read
        return set()
