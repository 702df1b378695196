"""What does a run cost that has nothing to do? Run with ``make idle-bench``.

In turns: ``embedder run`` on the unchanged sample corpus, and Dagster runs of empty assets, each a process of its own
on an instance of its own: as many assets as ours with as many checks, and as many assets alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg

from embedder_assets.launch import DAGSTER_CONFIG
from embedder_assets.settings import PROJECT_ROOT

ROUNDS = 7
BOUND = 1.3
EMPTY = Path(__file__).parent / "empty.py"
CORPUS = PROJECT_ROOT / "examples" / "corpus"


def main() -> None:
    """Prints a line a round, the medians and the ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        commands = {
            "ours": [str(Path(sys.executable).parent / "embedder"), "run", "--corpus", str(CORPUS)],
            "empty assets and checks": [sys.executable, str(EMPTY), str(described(root / "all.json", checks=True))],
            "empty assets": [sys.executable, str(EMPTY), str(described(root / "assets.json", checks=False))],
        }
        for name, command in commands.items():
            timed(name, command, root)
        rounds = [{name: timed(name, command, root) for name, command in commands.items()} for _ in range(ROUNDS)]
    for each in rounds:
        print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in each.items()))
    ours, with_checks, alone = (statistics.median(each[name] for each in rounds) for name in commands)
    print(f"median: ours {ours:.2f} s, empty assets and checks {with_checks:.2f} s, empty assets {alone:.2f} s")
    for what, seconds in (("as many empty assets and checks", with_checks), ("as many empty assets", alone)):
        ratio = ours / seconds
        print(f"ours / {what}: {ratio:.2f}; at most {BOUND}: {'holds' if ratio <= BOUND else 'DOES NOT HOLD'}")


def described(file: Path, *, checks: bool) -> Path:
    """The assets of our job, and their checks, for ``empty.py``."""
    from embedder_assets.automation import rag_tables
    from embedder_assets.definitions import defs

    graph = defs.resolve_asset_graph()
    keys = rag_tables.selection.resolve(graph)
    assets = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.toposorted_asset_keys
        if key in keys
    }
    description: dict[str, Any] = {"assets": assets, "checks": described_checks(defs) if checks else []}
    description["partitions"] = sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())
    file.write_text(json.dumps(description), "utf-8")
    return file


def described_checks(defs: dg.Definitions) -> list[dict[str, Any]]:
    """A description for each step that checks."""
    found: list[dict[str, Any]] = []
    for definition in defs.asset_checks or []:
        specs = list(definition.check_specs)
        for asset in sorted({spec.asset_key.to_user_string() for spec in specs}):
            own = [spec for spec in specs if spec.asset_key.to_user_string() == asset]
            found.append(
                {
                    "name": f"check_{asset}_{len(found)}",
                    "asset": asset,
                    "checks": [spec.name for spec in own],
                    "blocking": own[0].blocking,
                }
            )
    return found


def timed(name: str, command: list[str], root: Path) -> float:
    """Seconds of one process from start to end."""
    home = root / name.replace(" ", "_")
    instance = home / "dagster"
    instance.mkdir(parents=True, exist_ok=True)
    (instance / "dagster.yaml").write_text(DAGSTER_CONFIG, "utf-8")
    environment = {**os.environ, "EMBEDDER_HOME": str(home), "DAGSTER_HOME": str(instance)}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
