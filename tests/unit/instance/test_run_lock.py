"""A run whose process is gone, and no other, is marked as failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from embedder_assets.instance.lost_runs import MESSAGE, fail_lost_runs
from embedder_assets.instance.run_lock import ENDING_S, YOUNG_S, RunLock, is_lost

HOLD = """
import sys, time
from pathlib import Path
from embedder_assets.instance.run_lock import RunLock
RunLock(Path(sys.argv[1])).hold(sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def started(instance: dg.DagsterInstance) -> str:
    return create_run_for_test(instance, "rag_tables", status=dg.DagsterRunStatus.STARTED).run_id


def of_age(home: Path, run_id: str) -> None:
    file = home / "locks" / "runs" / f"{run_id}.lock"
    then = file.stat().st_mtime - ENDING_S - 2 * YOUNG_S
    os.utime(file, (then, then))


def killed(home: Path, run_id: str) -> None:
    """A process that has held the sign of a run, and was killed."""
    command = [sys.executable, "-c", HOLD, str(home), run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    of_age(home, run_id)


def test_a_killed_process_loses_its_run_once(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started(instance)
    killed(tmp_path, run_id)
    assert fail_lost_runs(instance, tmp_path) == [run_id]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert any(MESSAGE in entry.message for entry in instance.all_logs(run_id))
    assert fail_lost_runs(instance, tmp_path) == []


def test_a_process_that_lives_keeps_its_run(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started(instance)
    sign = RunLock(tmp_path)
    sign.hold(run_id)
    sign.hold(run_id)
    of_age(tmp_path, run_id)
    assert fail_lost_runs(instance, tmp_path) == []
    sign.close()


def let_go(home: Path, run_id: str) -> None:
    """A process that has held the sign of a run, and came to its end."""
    sign = RunLock(home)
    sign.hold(run_id)
    sign.close()


def test_ended_and_foreign_runs_are_not_lost(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started(instance)
    let_go(tmp_path, run_id)
    instance.report_run_canceled(instance.get_run_by_id(run_id))  # type: ignore[arg-type]
    assert fail_lost_runs(instance, tmp_path) == []
    of_age(tmp_path, run_id)
    assert fail_lost_runs(instance, tmp_path) == []
    assert list((tmp_path / "locks" / "runs").iterdir()) == []
    assert fail_lost_runs(instance, tmp_path / "another") == []


def test_unrecorded_end_is_lost_after_a_while(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started(instance)
    let_go(tmp_path, run_id)
    assert fail_lost_runs(instance, tmp_path) == []
    of_age(tmp_path, run_id)
    assert fail_lost_runs(instance, tmp_path) == [run_id]


def test_lock_being_created_is_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "locks" / "runs"
    folder.mkdir(parents=True)
    (folder / "new.lock").touch()
    assert not is_lost(tmp_path, "new")


@pytest.mark.parametrize("days", [1, 10, 400])
def test_clock_ahead_does_not_hide_a_loss(tmp_path: Path, instance: dg.DagsterInstance, days: int) -> None:
    run_id = started(instance)
    killed(tmp_path, run_id)
    file = tmp_path / "locks" / "runs" / f"{run_id}.lock"
    then = time.time() + days * 24 * 60 * 60
    os.utime(file, (then, then))
    assert fail_lost_runs(instance, tmp_path) == [run_id]


def test_running_process_keeps_its_run_at_any_clock(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = started(instance)
    sign = RunLock(tmp_path)
    sign.hold(run_id)
    file = tmp_path / "locks" / "runs" / f"{run_id}.lock"
    for days in (-30, 30):
        then = time.time() + days * 24 * 60 * 60
        os.utime(file, (then, then))
        assert fail_lost_runs(instance, tmp_path) == []
    sign.close()
