"""A short run of the chaos suite, one fault of most kinds. ``make chaos`` does fifty."""

from __future__ import annotations

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import chaos, told


@pytest.mark.timeout(600)
def test_nothing_is_lost_whatever_is_broken() -> None:
    rounds = list(chaos(faults=len(FAULTS), seed=7))
    for each in rounds:
        print(told(each))
    assert [problem for each in rounds for problem in each.problems] == []
    assert {each.fault for each in rounds} >= {fault.name for fault in FAULTS}
