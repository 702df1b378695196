"""Short random histories. ``make soak NAME=history`` does longer ones, by any seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.history.run import Stage, history, repeat, stage
from tests.history.steps import KINDS

STEPS = 100


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("history")) as shared:
        yield shared


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_history_equals_rebuild(seed: int, shared: Stage, tmp_path: Path) -> None:
    print("repeat with", repeat(seed, STEPS))
    steps = []
    for step in history(seed, STEPS, tmp_path / "log", shared):
        print(step.told())
        steps.append(step)
    assert [f"step {step.number}: {problem}" for step in steps for problem in step.problems] == []
    missing = KINDS.keys() - {step.kind for step in steps} - {"maintained", "dropped", "restored"}
    if missing:
        warnings.warn(f"no steps of the kinds {sorted(missing)}", stacklevel=1)
