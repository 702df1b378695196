"""Lives through a random history of 200 steps (STEPS=n) of a seed (SEED=n; KINDS=a,b LOG=folder), against rebuilds.

Whatever happens, a step after the other, `embedder search` answers at every moment, no row goes whose source is still
there, and every run ends well that nothing disturbs; at every checkpoint the tables are those of a rebuild.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.stub_models import triton_with_stub_models
from tests.chaos.world import small_disk
from tests.history.models import make_repository
from tests.history.steps import CORPUS_ONLY, KINDS, checkpoint
from tests.history.worker import Workers
from tests.history.world import World

STEPS_PER_CHECKPOINT = 20


@dataclass
class Step:
    """What one step did.

    Attributes:
        words: What was done, and what came out.
        problems: What should not be.
    """

    number: int
    kind: str
    words: str
    seconds: float
    problems: list[str] = field(default_factory=list)

    def report(self) -> str:
        """A paragraph for people."""
        lines = [f"{self.number:4} {self.kind} ({self.seconds:.1f} s): {self.words}"]
        return "\n".join(lines + [f"     PROBLEM: {problem}" for problem in self.problems])


@dataclass(frozen=True)
class Stage:
    """What all histories of a process share.

    Attributes:
        models: Variables of the product that name the models and the server that has them.
        workers: The processes that work.
    """

    models: dict[str, str]
    workers: Workers


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Starts a Triton for some histories."""
    repository = make_repository(folder / "models")
    with triton_with_stub_models(folder / "triton", repository) as server:
        models = {"EMBEDDER_TRITON_URL": server.address.grpc, "EMBEDDER_MODEL_REPOSITORY": str(repository)}
        yield Stage(models, Workers(folder))


def history(seed: int, steps: int, log: Path, shared: Stage, kinds: Sequence[str] = tuple(KINDS)) -> Iterator[Step]:
    """The steps of a history, the same for the same seed, kinds and number of steps."""
    possible = [kind for kind in kinds if _possible(kind, shared.workers)]
    weights = [KINDS[kind][1] for kind in possible]
    log.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="history-") as root, small_disk(Path(root) / "disk"):
        world = World(Path(root), seed, log, shared.models, shared.workers)
        try:
            for number in range(1, steps + 1):
                world.begin(f"step {number}")
                due = number == steps or number % STEPS_PER_CHECKPOINT == 0
                kind = "checkpoint" if due else random.Random(f"{seed} {number}").choices(possible, weights)[0]
                started = time.monotonic()
                words = (checkpoint if due else KINDS[kind][0])(world)
                if kind not in CORPUS_ONLY:
                    world.search()
                problems, world.problems = list(dict.fromkeys(world.problems)), []
                yield Step(number, kind, words, time.monotonic() - started, problems)
        finally:
            world.close()


def repeat(seed: int, steps: int) -> str:
    """How to do the same again."""
    return f"make soak NAME=history SEED={seed} STEPS={steps}"


def _possible(kind: str, workers: Workers) -> bool:
    """Moving the clock takes a C compiler; only root can edit what nobody may read."""
    return {"clock": workers.move_clocks, "permissions": os.geteuid() == 0}.get(kind, True)


def main() -> None:
    """Tells a history, and exits with 1 if anything in it should not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kinds", default=",".join(KINDS), help="which kinds of steps there are")
    parser.add_argument("--log", type=Path, help="folder for what the commands said")
    parser.add_argument("--first", action="store_true", help="end at the first problem")
    arguments = parser.parse_args()
    log = (arguments.log or Path(".embedder") / "history" / f"seed-{arguments.seed}").absolute()
    print(f"repeat with {repeat(arguments.seed, arguments.steps)}; the log is in {log}", flush=True)
    bad = 0
    with tempfile.TemporaryDirectory(prefix="history-") as folder, stage(Path(folder)) as shared:
        for step in history(arguments.seed, arguments.steps, log, shared, arguments.kinds.split(",")):
            print(step.report(), flush=True)
            bad += len(step.problems)
            if bad and arguments.first:
                break
    print(f"{arguments.steps} steps, seed {arguments.seed}: {bad or 'no'} problems")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
