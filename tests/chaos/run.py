"""The chaos suite: ``make chaos`` (FAULTS=n SEED=n).

In each round the corpus is edited, a run works on it, and a fault strikes; then the fault is mended, and an undisturbed
run has to put everything right. Every tenth round, and at the end, all tables are held against a rebuild from nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.faults import FAULTS, Fault, Mend, nothing
from tests.chaos.world import World, ended, first_error, small_disk

ROUNDS_A_REBUILD = 10


@dataclass
class Round:
    """What was done in one round, and what came out.

    Attributes:
        fault: Its kind.
        done: What was done, and when.
        status: Exit status of the run that it struck.
        said: What that run said of it, where it failed.
        problems: What should not be.
    """

    number: int
    fault: str
    done: str = ""
    status: int = 0
    said: str = ""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> None:
    """Runs the suite, prints the story and a table, and exits with 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--log", type=Path, help="JSON lines, a round a line")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}: repeat with make chaos FAULTS={arguments.faults} SEED={arguments.seed}", flush=True)
    rounds = []
    for each in chaos(arguments.faults, arguments.seed):
        rounds.append(each)
        print(told(each), flush=True)
        if arguments.log:
            with arguments.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(each), ensure_ascii=False) + "\n")
    kinds = Counter(each.fault for each in rounds)
    for kind, count in sorted(kinds.items()):
        failed = sum(1 for each in rounds if each.fault == kind and each.status)
        wrong = sum(len(each.problems) for each in rounds if each.fault == kind)
        print(f"{kind}: {count} times, {failed} runs failed and said why, {wrong} problems")
    problems = [problem for each in rounds for problem in each.problems]
    print(
        f"{len(rounds)} faults, seed {arguments.seed}: " + (f"{len(problems)} PROBLEMS" if problems else "nothing lost")
    )
    sys.exit(1 if problems else 0)


def chaos(faults: int, seed: int) -> Iterator[Round]:
    """Rounds of a world of their own; each kind of fault comes before one comes twice."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as root, small_disk(Path(root) / "disk") as no_disk:
        world = World(Path(root), seed)
        kinds = [fault for fault in FAULTS if not (no_disk and fault.name == "disk full")]
        if no_disk:
            yield Round(0, "disk full", done=f"left out, no disk of its own can be mounted: {no_disk}")
        first = Round(0, "none", done="the first run", problems=world.undisturbed())
        yield first
        if first.problems:
            return
        world.start_exporter()
        try:
            for number, fault in enumerate(_order(world, kinds, faults), start=1):
                yield _round(world, number, fault, rebuild=number % ROUNDS_A_REBUILD == 0 or number == faults)
        finally:
            world.stop_exporter()


def told(each: Round) -> str:
    """One round as a person reads it."""
    outcome = f"exit status {each.status}" + (f" ({each.said[:160]})" if each.said else "")
    lines = [f"{each.number:3} {each.fault}: {each.done}; {outcome}; {each.seconds:.0f} s"]
    return "\n".join(lines + [f"    PROBLEM: {problem}" for problem in each.problems])


def _order(world: World, kinds: list[Fault], count: int) -> list[Fault]:
    order: list[Fault] = []
    while len(order) < count:
        order += world.chance.sample(kinds, len(kinds))
    return order[:count]


def _round(world: World, number: int, fault: Fault, *, rebuild: bool) -> Round:
    started = time.monotonic()
    story = Round(number, fault.name)
    for _ in range(world.chance.randint(1, 4)):
        world.editor.change()
    mends: list[Mend] = []
    if fault.prepare:
        story.done, mend = fault.prepare(world)
        mends.append(mend)
    run = world.start()
    if fault.strike:
        story.done, mend = fault.strike(world, run)
        mends.append(mend)
    story.status, output = ended(run)
    story.said = first_error(output) if story.status > 0 else ""
    if "Traceback" in output:
        story.problems.append(f"a traceback: {output[-1500:]}")
    if fault.survives is not None and fault.survives != (story.status == 0):
        story.problems.append(f"the run ended with {story.status}: {output[-1500:]}")
    for mend in mends:
        if mend is not nothing:
            mend()
    story.problems += world.orphans()
    story.problems += world.undisturbed()
    story.problems += world.damage()
    if rebuild:
        story.problems += world.unlike_a_rebuild()
    story.seconds = time.monotonic() - started
    return story


if __name__ == "__main__":
    main()
