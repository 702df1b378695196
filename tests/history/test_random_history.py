"""Short random histories. ``make soak NAME=history`` does longer ones, by any seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.history.run import Stage, history, repeat, stage

STEPS = 40


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("history")) as shared:
        yield shared


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_history_equals_rebuild(seed: int, shared: Stage, tmp_path: Path) -> None:
    print("repeat with", repeat(seed, STEPS))
    kinds = set()
    problems = []
    for step in history(seed, STEPS, tmp_path / "log", shared):
        print(step.report())
        kinds.add(step.kind)
        problems += [f"step {step.number}, {step.kind}: {problem}" for problem in step.problems]
    assert problems == []
    if left_out := {"clock", "permissions"} - kinds:
        warnings.warn(f"left out, since there is no C compiler or this is not root: {sorted(left_out)}", stacklevel=1)
