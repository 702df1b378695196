"""What does a run cost when nothing has changed?

Alternating, each a process from start to end: ``embedder run`` on an unchanged copy of the sample corpus, a Dagster job
of as many empty assets, one of as many empty assets and checks, and the same two with the event log that ours has
instead of Dagster's default. All have the same dependencies, partitions and executor, and an instance on disk of
their own.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common.acceptance import outcome
from embedder_assets.automation.jobs import rag_tables
from embedder_assets.corpus.collections import discover_collections
from embedder_assets.definitions import defs
from embedder_assets.settings import PROJECT_ROOT

ROUNDS = 9
BOUND = 1.3
EMBEDDER = Path(sys.executable).parent / "embedder"
OURS = "embedder run"
# Name of the other sides: with checks, and with our event log.
EMPTY = {
    "empty assets": (False, False),
    "empty assets and checks": (True, False),
    "empty assets, our event log": (False, True),
    "empty assets and checks, our event log": (True, True),
}


class Times(NamedTuple):
    """Seconds of a process by the clock, and of the processor, which others on the machine change less."""

    wall: float
    cpu: float


def main() -> None:
    """Prints one line per round, then the medians and how ours compares."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(PROJECT_ROOT / "examples" / "corpus", folder / "corpus")
        sides = {OURS: [str(EMBEDDER), "run", "--corpus", str(folder / "corpus")]}
        for name, (checked, kept) in EMPTY.items():
            sides[name] = empty_job(folder, name, shape(with_checks=checked), kept=kept)
        for command in sides.values():
            # The first run computes everything; a second one finds every file of Python compiled and every table there.
            for _ in range(2):
                timed(command, folder)
        seconds = [{name: timed(command, folder) for name, command in sides.items()} for _ in range(ROUNDS)]
    for each in seconds:
        print("  ".join(f"{value.wall:.2f}" for value in each.values()))
    report(seconds)


def shape(*, with_checks: bool) -> dict[str, dict[str, list[str]]]:
    """The assets of the main job: what each depends on, and the names of its checks, taken from the code location."""
    job = defs.resolve_job_def(rag_tables.name)
    graph = job.asset_layer.asset_graph
    assets = {
        key: graph.get(key) for key in graph.toposorted_asset_keys if key in job.asset_layer.executable_asset_keys
    }
    return {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "checks": sorted(check.name for check in node.check_keys) if with_checks else [],
        }
        for key, node in assets.items()
    }


def empty_job(folder: Path, name: str, assets: Mapping[str, Any], *, kept: bool) -> list[str]:
    """The command of a job of empty assets."""
    described = {
        "shape": assets,
        "partitions": [collection.name for collection in discover_collections(folder / "corpus")],
        "kept": kept,
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(described), "utf-8")
    return [sys.executable, "-m", "benchmarks.idle_run.empty_job", str(file), str(folder / name)]


def timed(command: Sequence[str], folder: Path) -> Times:
    """What a process takes, from start to end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDDER_", "DAGSTER_"))}
    environment["EMBEDDER_HOME"] = str(folder / "home")
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=PROJECT_ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Times(time.perf_counter() - started, cpu)


def report(seconds: Sequence[Mapping[str, Times]]) -> None:
    """Prints the medians, and the median ratio of the rounds to each kind of empty job."""
    whole = shape(with_checks=True)
    checks = sum(len(asset["checks"]) for asset in whole.values())
    print(f"{len(whole)} assets, {checks} checks, median of {len(seconds)} rounds: seconds, CPU seconds")
    for name in (OURS, *EMPTY):
        wall, cpu = (statistics.median(values) for values in zip(*(each[name] for each in seconds), strict=True))
        print(f"  {name:<40} {wall:.2f}  {cpu:.2f}")
    for name in EMPTY:
        ratio = statistics.median(each[OURS].wall / each[name].wall for each in seconds)
        cpu = statistics.median(each[OURS].cpu / each[name].cpu for each in seconds)
        print(
            f"{ratio:.2f} times the run of as many {name} (CPU {cpu:.2f}); less than {BOUND}: {outcome(ratio < BOUND)}"
        )


if __name__ == "__main__":
    main()
