"""How much faster do several processes read documents than one, and does memory grow with the collection?

The stage ``documents`` reads a collection into an empty home: the ASVS, and as many PDF, DOCX and reStructuredText
files as are asked for; once as it is, and once four times as large. Both numbers of processes take turns, and each read
is a process of its own. The memory is what the processes hold together, shared pages counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.common.acceptance import outcome
from benchmarks.documents.corpus import ASVS, write_corpus
from embedder_assets.serving.cpu import cores
from embedder_assets.settings import PROJECT_ROOT

COLLECTION = "library"
SIZES = (1, 4)
# The rate of all processes by that of one, per core; memory at four times the size by that at once the size.
SPEEDUP_PER_CORE = 0.9
# The commit holds the text of a row group, 4096 documents, so up to that number some growth is in order.
GROWTH = 1.5
LOOK_S = 0.5  # a look costs some of the processor time that is measured
MIB = 2**20


class Reading(NamedTuple):
    """One read of a collection; ``peak_bytes`` is of all its processes together."""

    seconds: float
    documents: int
    pages: int
    peak_bytes: int


# Of each size and number of processes.
Readings = Mapping[tuple[int, int], Sequence[Reading]]


def main() -> None:
    """Prints a line for each read, then the medians and whether the bounds hold."""
    args = parse_args()
    found: dict[tuple[int, int], list[Reading]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            write_corpus(Path(folder) / str(size) / COLLECTION, size * args.documents, size)
        print(f"{cores()} cores, load {os.getloadavg()[0]:.1f}, ASVS {'with' if ASVS.is_dir() else 'not at hand'}")
        for _ in range(args.rounds):
            for size in SIZES:
                for processes in (1, cores()):
                    reading = read(Path(folder) / str(size), processes)
                    found[size, processes].append(reading)
                    print(line(size, processes, reading), flush=True)
    print("\n".join(verdicts(found, cores())))


def read(corpus: Path, processes: int) -> Reading:
    """Reads the collection in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.documents.one_read", str(corpus), COLLECTION, str(processes)]
    peak = 0
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            peak = max(peak, held_bytes(child.pid))
            time.sleep(LOOK_S)
        assert child.stdout is not None
        said = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"the read ended with status {child.returncode}")
    return Reading(**json.loads(said), peak_bytes=peak)


def held_bytes(pid: int) -> int:
    """What a process and those below it hold; a page that several of them share counts once (PSS)."""
    held = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            held += process.memory_full_info().pss
    except psutil.Error:  # one of them has just ended
        pass
    return held


def line(size: int, processes: int, reading: Reading) -> str:
    """A read in words."""
    rate = reading.documents / reading.seconds
    return (
        f"size {size}, {processes} process(es): {reading.documents} documents, {reading.pages} pages in "
        f"{reading.seconds:.1f} s, {rate:.1f}/s, {reading.peak_bytes / MIB:.0f} MiB, load {os.getloadavg()[0]:.1f}"
    )


def verdicts(found: Readings, most: int) -> list[str]:
    """The medians, and whether the bounds hold. A speedup is taken within a round, so that load disturbs both sides."""
    lines = []
    for size in SIZES:
        ratios = [one.seconds / all_.seconds for one, all_ in zip(found[size, 1], found[size, most], strict=True)]
        median, bound = statistics.median(ratios), SPEEDUP_PER_CORE * most
        lines.append(
            f"size {size}: {most} processes / one: {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
            f"at least {bound:.1f}: {outcome(median >= bound)}"
        )
    for processes in dict.fromkeys((1, most)):
        small, large = (statistics.median(each.peak_bytes for each in found[size, processes]) for size in SIZES)
        lines.append(
            f"{processes} process(es): {small / MIB:.0f} MiB, at {SIZES[-1]} times the size {large / MIB:.0f} MiB; "
            f"at most {GROWTH} times as much: {outcome(large <= GROWTH * small)}"
        )
    return lines


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Documents read by several processes and by one.")
    parser.add_argument("--documents", type=int, default=300, help="made for the smaller collection, besides the ASVS")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
