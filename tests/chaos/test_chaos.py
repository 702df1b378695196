"""A short chaos run: the faults that nothing else in the tests causes. ``make soak NAME=chaos`` does fifty."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import NEEDS_DISK, chaos

SHORT = {
    "run killed",
    "triton killed",
    "exporter killed",
    "two runs at once",
    "disk full",
    "collection emptied",
    "data file damaged",
}


@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_is_broken(tmp_path: Path) -> None:
    kinds = [fault for fault in FAULTS if fault.name in SHORT]
    rounds = list(chaos(len(kinds), seed=7, log=tmp_path, kinds=kinds))
    for each in rounds:
        print(each.report())
    assert [problem for each in rounds for problem in each.problems] == []
    missing = SHORT - {each.fault for each in rounds if each.hit}
    assert missing <= {NEEDS_DISK}
    if missing:
        warnings.warn(rounds[0].done, stacklevel=1)
