"""A short run of the chaos suite, one fault of each kind. ``make chaos`` does fifty."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import NEEDS_DISK, chaos


@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_is_broken(tmp_path: Path) -> None:
    rounds = list(chaos(len(FAULTS), seed=7, log=tmp_path))
    for each in rounds:
        print(each.told())
    assert [problem for each in rounds for problem in each.problems] == []
    missing = {fault.name for fault in FAULTS} - {each.fault for each in rounds if each.hit}
    assert missing <= {NEEDS_DISK}
    if missing:
        warnings.warn(rounds[0].done, stacklevel=1)
