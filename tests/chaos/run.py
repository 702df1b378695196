"""Breaks the system on purpose 50 times (FAULTS=n), at moments of a seed (SEED=n; LOG=folder).

In each round the corpus is edited, a run works on it, and a fault strikes. What that run took is looked for; then the
fault is mended as an operator would, and an undisturbed run has to put everything right. Every tenth round, and at the
end, all tables are compared with a rebuild from nothing. A fault that came too late for its run is tried again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.faults import FAULTS, Deed, Fault
from tests.chaos.oracle import Held, broken_rules, left_in_staging, unlike_a_rebuild
from tests.chaos.started import Ended
from tests.chaos.story import Round, Story, computed
from tests.chaos.world import World, small_disk

ROUNDS_PER_REBUILD = 10
TRIES_PER_FAULT = 4
NEEDS_DISK = "disk full"


def main() -> None:
    """Runs the suite, prints the story and a table, and exits with 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--log", type=Path, help="folder for the story and what the runs said")
    arguments = parser.parse_args()
    _may_mount()
    folder = arguments.log or Path(".embedder") / "chaos" / f"seed-{arguments.seed}"
    story = Story(folder.absolute(), arguments.seed, arguments.faults)
    for each in chaos(arguments.faults, arguments.seed, story.folder):
        story.add(each)
    sys.exit(0 if story.ends_well() else 1)


def _may_mount() -> None:
    """Who is not root starts again in a namespace of its own, where mounting a small disk is allowed."""
    if os.geteuid() and shutil.which("unshare") and not subprocess.run(["unshare", "-rm", "true"]).returncode:
        os.execvp("unshare", ["unshare", "-rm", sys.executable, "-m", "tests.chaos.run", *sys.argv[1:]])


def chaos(faults: int, seed: int, log: Path, kinds: list[Fault] = FAULTS) -> Iterator[Round]:
    """Rounds of a world of their own, until so many faults have struck; each kind comes before one comes twice."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as root, small_disk(Path(root) / "disk") as no_disk:
        world = World(Path(root), seed, log)
        if no_disk:
            yield Round(0, NEEDS_DISK, hit=False, done=f"left out, no disk of its own can be mounted: {no_disk}")
        first = Round(0, "none", hit=False, done="the first run, which nothing disturbs")
        started = time.monotonic()
        _undisturbed(world, first)
        first.seconds = time.monotonic() - started
        yield first
        if first.problems:
            return
        world.start_exporter()
        try:
            yield from _rounds(world, [kind for kind in kinds if not (no_disk and kind.name == NEEDS_DISK)], faults)
        finally:
            world.kill_exporter()


def _rounds(world: World, kinds: list[Fault], faults: int) -> Iterator[Round]:
    struck = number = 0
    coming: list[Fault] = []
    while struck < faults:
        world.begin(f"order from {struck}")
        coming = coming or world.chance.sample(kinds, len(kinds))
        fault = coming.pop()
        for tries_left in reversed(range(TRIES_PER_FAULT)):
            world.begin(f"fault {struck}, {tries_left} tries left")
            number += 1
            each = _round(world, number, fault)
            struck += each.hit
            if each.hit and (struck % ROUNDS_PER_REBUILD == 0 or struck == faults):
                each.problems += unlike_a_rebuild(world)
                each.rebuilt = True
            if not each.hit and not tries_left:
                each.problems.append(f"{TRIES_PER_FAULT} times in a row it came too late")
                struck += 1
            yield each
            if each.hit:
                break


def _round(world: World, number: int, fault: Fault) -> Round:
    started = time.monotonic()
    each = Round(number, fault.name, edits=world.edit())
    held = Held.of(world)
    deed = fault.prepare(world) if fault.prepare else None
    run = world.start(f"{number:03}-struck")
    deed = fault.strike(world, run) if fault.strike else deed
    assert deed is not None, "a fault is prepared or strikes"
    ended = run.ended()
    each.done, each.hit = deed.words, deed.hit
    each.status, each.said = ended.status, ended.sentence
    each.problems += [*deed.problems, *ended.problems(), *_unexpected(fault, deed, ended)]
    each.problems += world.left_over()
    each.problems += held.lost(world, deed.table)
    each.mended = deed.mend() or ""
    _undisturbed(world, each)
    each.problems += world.exporter_problems()
    each.seconds = time.monotonic() - started
    return each


def _undisturbed(world: World, each: Round) -> None:
    """Runs with nothing in the way, and looks at what is there then."""
    ended = world.start(f"{each.number:03}-next").ended()
    if not ended.well:
        each.problems.append(f"the undisturbed run ended with {ended.status}: {ended.sentence or ended.said[-800:]}")
    each.problems += [*ended.problems(), *world.left_over(), *broken_rules(world), *left_in_staging(world)]
    world.pace = ended.seconds
    each.next = f"{computed(world.home)} in {ended.seconds:.0f} s"


def _unexpected(fault: Fault, deed: Deed, ended: Ended) -> list[str]:
    """What this fault in particular may not do to a run."""
    if not deed.hit:
        return [] if ended.well else [f"it came too late, and the run ended with {ended.status}: {ended.sentence}"]
    if fault.survives is not None and fault.survives != ended.well:
        return [f"the run ended with {ended.status} under a fault that it has to {_meets(fault)}: {ended.sentence}"]
    if deed.table and not ended.well and f"'{deed.table}'" not in ended.sentences:
        return [f"the run failed and did not name the table {deed.table}: {ended.sentences}"]
    return []


def _meets(fault: Fault) -> str:
    return "survive" if fault.survives else "refuse"


if __name__ == "__main__":
    main()
