"""The decision of the sensor ``collection_changes``: which collections get a run, and when."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.automation.changes import Decision, Observation, SensorCursor, decide
from embedder_assets.automation.sensors import collection_changes
from tests.support.permissions import permissions_count

SETTLE_S = 30.0


def look(
    files: dict[str, str | None], time: float, cursor: SensorCursor | None = None, in_flight: set[str] | None = None
) -> Decision:
    return decide(Observation(files, in_flight or set(), time, SETTLE_S), cursor or SensorCursor())


def settled(files: dict[str, str | None]) -> SensorCursor:
    """What is remembered after a run was asked for files that have not changed since."""
    return look(files, 100, look(files, 0).cursor).cursor


def test_new_collection_waits_until_it_is_unchanged() -> None:
    first = look({"kb": "a"}, 0)
    assert first.run_keys == {}
    assert first.waiting == {"kb": f"its files have been unchanged for 0 of {SETTLE_S:.0f} s"}
    assert look({"kb": "a"}, SETTLE_S, first.cursor).run_keys == {"kb": "kb/1/a"}


def test_growing_file_waits() -> None:
    cursor = SensorCursor()
    for step in range(10):
        decision = look({"kb": f"size {step}"}, step * 20, cursor)
        assert decision.run_keys == {}
        cursor = decision.cursor
    assert list(look({"kb": "size 9"}, 9 * 20 + SETTLE_S, cursor).run_keys) == ["kb"]


def test_state_is_requested_once() -> None:
    cursor = settled({"kb": "a"})
    assert look({"kb": "a"}, 10_000, cursor).run_keys == {}


def test_change_during_run_is_requested_afterwards() -> None:
    changed = look({"kb": "b"}, 200, settled({"kb": "a"}), {"kb"})
    during = look({"kb": "b"}, 300, changed.cursor, {"kb"})
    assert during.run_keys == {}
    assert "a run of it is in progress" in during.waiting["kb"]
    assert list(look({"kb": "b"}, 400, during.cursor).run_keys) == ["kb"]


def test_a_run_of_another_collection_holds_nothing_back() -> None:
    assert list(look({"kb": "a"}, 100, look({"kb": "a"}, 0).cursor, {"other"}).run_keys) == ["kb"]


def test_return_to_earlier_state_has_new_key() -> None:
    cursor, keys = SensorCursor(), []
    for step, digest in enumerate("aba"):
        cursor = look({"kb": digest}, step * 100, cursor).cursor
        decision = look({"kb": digest}, step * 100 + SETTLE_S, cursor)
        cursor = decision.cursor
        keys += decision.run_keys.values()
    assert len(set(keys)) == 3


def test_unreadable_collection_waits_and_is_remembered() -> None:
    cursor = settled({"kb": "a"})
    unread = look({"kb": None}, 200, cursor)
    assert unread.run_keys == {}
    assert unread.waiting == {"kb": "its files cannot be read"}
    assert look({"kb": "a"}, 300, unread.cursor).run_keys == {}


def test_a_collection_that_is_gone_is_remembered() -> None:
    cursor = settled({"kb": "a"})
    assert look({"kb": "a"}, 300, look({}, 200, cursor).cursor).run_keys == {}


def test_unknown_cursor_requests_every_collection() -> None:
    assert SensorCursor.parse('{"version": 0}') == SensorCursor()
    assert SensorCursor.parse("no json") == SensorCursor()
    kept = settled({"kb": "a"})
    assert SensorCursor.parse(kept.model_dump_json()) == kept


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60), st.booleans()), min_size=1, max_size=40))
def test_last_state_is_requested_once_idle(
    looks: list[tuple[str, int, bool]],
) -> None:
    cursor, time, asked = SensorCursor(), 0.0, ""
    for digest, seconds, in_flight in looks:
        time += seconds
        decision = look({"kb": digest}, time, cursor, {"kb"} if in_flight else set())
        cursor = decision.cursor
        if decision.run_keys:
            assert not in_flight
            assert digest != asked
            asked = digest
    for _ in range(2):
        time += SETTLE_S
        decision = look({"kb": looks[-1][0]}, time, cursor)
        cursor = decision.cursor
        asked = looks[-1][0] if decision.run_keys else asked
    assert asked == looks[-1][0]


def test_sensor_skips_unusable_collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "a...b", "locked"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    (tmp_path / "corpus" / "locked").chmod(0)
    monkeypatch.setenv("EMBEDDER_CORPUS_DIR", str(tmp_path / "corpus"))
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path / "home"))
    with dg.DagsterInstance.ephemeral() as instance, permissions_count():
        found = collection_changes(dg.build_sensor_context(instance=instance))
    assert SensorCursor.parse(found.cursor).collections.keys() == {"good"}


def test_clock_ahead_delays_by_settling_time() -> None:
    first = look({"kb": "a"}, 864_000)
    again = look({"kb": "a"}, 0, first.cursor)
    assert again.waiting == {"kb": f"its files have been unchanged for 0 of {SETTLE_S:.0f} s"}
    assert list(look({"kb": "a"}, SETTLE_S, again.cursor).run_keys) == ["kb"]
