"""What the log of a long step says of its progress."""

from __future__ import annotations

import time

import pytest

from embedder_assets.telemetry import progress
from embedder_assets.telemetry.progress import LoggedProgress
from embedder_assets.telemetry.stage_record import StageMeter, ignore_progress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def logged(clock: Clock, steps: list[tuple[float, str, int, int]]) -> list[str]:
    """The log of a stage that reports after so many seconds: collection, done, total."""
    said: list[str] = []
    meter = StageMeter("dense", ["kb"], report=LoggedProgress(ignore_progress, said.append))
    for seconds, collection, done, total in steps:
        clock.now += seconds
        meter.progress(collection, done, total)
    return said


def test_quick_step_logs_nothing(clock: Clock) -> None:
    assert logged(clock, [(0.2, "kb", done, 100) for done in range(1, 101)]) == []


def test_every_half_minute_done_rate_and_remaining(clock: Clock) -> None:
    said = logged(clock, [(1.0, "kb", 10 * done, 10_000) for done in range(1, 92)])
    assert said == [
        "dense kb: 300 of 10000 done, 10 per second, about 16 min 10 s remaining",
        "dense kb: 600 of 10000 done, 10 per second, about 15 min 40 s remaining",
        "dense kb: 900 of 10000 done, 10 per second, about 15 min 10 s remaining",
    ]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ((95, 0), "95 done, 3.1 per second"),
        ((95, 90), "95 of 90 done, 3.1 per second"),
        ((1, 90), "1 of 90 done"),
        ((0, 0), "0 done"),
    ],
)
def test_no_remaining_time_without_an_estimate(clock: Clock, last: tuple[int, int], words: str) -> None:
    """The number in all is not known, has shrunk, or the counting has begun again."""
    assert logged(clock, [(0.2, "kb", 2, 100), (30.0, "kb", *last)]) == [f"dense kb: {words}"]


def test_rate_counts_what_this_step_has_done(clock: Clock) -> None:
    """Rows that were there before are done in no time, and what is left takes as long as ever."""
    said = logged(
        clock, [(0.1, "kb", 9_000, 10_000), *((1.0, "kb", 9_000 + 2 * each, 10_000) for each in range(1, 31))]
    )
    assert said == ["dense kb: 9060 of 10000 done, 2 per second, about 7 min 50 s remaining"]


def test_pages_are_named_where_they_are_known(clock: Clock) -> None:
    said: list[str] = []
    report = LoggedProgress(ignore_progress, said.append)
    for done in range(32):
        report("documents", "kb", done, 100, 7 * done)
        clock.now += 1
    assert said == ["documents kb: 30 of 100 done (210 pages), 1 per second, about 1 min 10 s remaining"]


def test_each_collection_has_a_rate_of_its_own(clock: Clock) -> None:
    said = logged(clock, [(1.0, "quick", 1000, 1000), (1.0, "slow", 0, 50), (30.0, "slow", 3, 50)])
    assert said == ["dense slow: 3 of 50 done, 0.1 per second, about 7 min 50 s remaining"]


def test_first_late_report_names_no_rate(clock: Clock) -> None:
    assert logged(clock, [(45.0, "kb", 64, 1000)]) == ["dense kb: 64 of 1000 done"]


def test_unknown_total_has_no_remaining_time(clock: Clock) -> None:
    said = logged(clock, [(1.0, "rows", 0, 0), (30.0, "rows", 600, 0)])
    assert said == ["dense rows: 600 done, 20 per second"]


@pytest.mark.parametrize(("seconds", "words"), [(59.6, "1 min 0 s"), (7300, "2 h 1 min"), (5, "5 s")])
def test_durations_in_two_units(seconds: float, words: str) -> None:
    assert progress._duration(seconds) == words


def test_many_reports_cost_next_to_nothing() -> None:
    shown: list[tuple[str, str, int, int, int]] = []
    report = LoggedProgress(lambda *state: shown.append(state), lambda _: None)
    for done in range(1, 100_001):
        report("documents", "kb", done, 100_000)
    assert shown[-1] == ("documents", "kb", 100_000, 100_000, 0)
    assert len(shown) < 1000


def test_clock_is_the_monotonic_one() -> None:
    assert progress.time is time
