"""What an update costs when nothing has changed: ``embedder run`` compared with ``cocoindex update``.

Part of ``make bench NAME=peers``. The same folder of 50 documents, each command a process from its start to its end,
alternating. Ours updates all tables (chunks, dense, sparse, fused, reranked, exports) and runs the checks; the app
of CocoIndex has chunks and dense vectors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common.acceptance import outcome
from benchmarks.common.mixed_corpus import write_mixed_corpus
from benchmarks.peers.prepare import unpack_checkpoint
from embedder_assets.settings import PROJECT_ROOT

BOUND = 2.5
OURS = [str(Path(sys.executable).parent / "embedder"), "run"]
COCOINDEX = [str(PROJECT_ROOT / ".venv-peers" / "bin" / "cocoindex"), "update", "--quiet"]
APP = "benchmarks.peers.sides.cocoindex_app"


def main() -> None:
    """Prints a line per round and the ratio."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        unpack_checkpoint(scratch / "checkpoint")
        print(write_mixed_corpus(scratch / "corpus" / "peers", args.documents), flush=True)
        environment = environment_of(scratch)
        commands = {"embedder run": OURS, "cocoindex update": [*COCOINDEX, APP]}
        for command in commands.values():
            # The first computes everything, the second finds every file of Python compiled.
            for _ in range(2):
                seconds(command, environment)
        rounds = []
        for _ in range(args.rounds):
            load = os.getloadavg()[0]
            rounds.append([seconds(command, environment) for command in commands.values()])
            print(
                f"embedder run {rounds[-1][0]:.2f} s  cocoindex update {rounds[-1][1]:.2f} s  load {load:.1f}",
                flush=True,
            )
    print(verdict(rounds))


def verdict(rounds: Sequence[Sequence[float]]) -> str:
    """The medians, and whether ours is as near as it was asked to be."""
    ratios = [ours / theirs for ours, theirs in rounds]
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(ratios)
    return (
        f"nothing changed: embedder run {ours:.2f} s, cocoindex update {theirs:.2f} s, ratio {ratio:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), at most {BOUND}: {outcome(ratio <= BOUND)}"
    )


def environment_of(scratch: Path) -> dict[str, str]:
    """Where both find everything, and nothing of the settings of whoever runs this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDDER_", "DAGSTER_"))}
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **kept,
        "PYTHONPATH": path,
        "EMBEDDER_HOME": str(scratch / "home"),
        "EMBEDDER_CORPUS_DIR": str(scratch / "corpus"),
        "PEERS_DOCUMENTS": str(scratch / "corpus" / "peers"),
        "PEERS_CHECKPOINT": str(scratch / "checkpoint"),
        "PEERS_SCRATCH": str(scratch),
        "COCOINDEX_DB": str(scratch / "state"),
        "HF_HUB_OFFLINE": "1",
    }


def seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """What a command takes; it has to succeed."""
    started = time.perf_counter()
    result = subprocess.run(command, cwd=PROJECT_ROOT, env=dict(environment), capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout[-500:]}\n{result.stderr[-2000:]}")
    return time.perf_counter() - started


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="An update of nothing, ours and CocoIndex's.")
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
