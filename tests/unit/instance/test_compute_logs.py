"""Where the output of steps goes that run in this process."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance

from embedder_assets.instance.compute_logs import TeeComputeLogManager
from embedder_assets.instance.sqlite_event_log import open_instance
from tests.support.processes import processes_of

# A limit of the kernel stands in for the full disk.
NO_ROOM = """
import resource, sys
from embedder_assets.instance.compute_logs import TeeComputeLogManager
with TeeComputeLogManager(sys.argv[1]).capture_logs(["run", "compute_logs", "step"]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    print("said all the same")
print("done")
"""
LOG_KEY = ["run", "compute_logs", "step"]


@pytest.fixture
def manager(tmp_path: Path) -> TeeComputeLogManager:
    return TeeComputeLogManager(str(tmp_path))


def captured(manager: TeeComputeLogManager) -> tuple[bytes | None, bytes | None]:
    data = manager.get_log_data(LOG_KEY)
    return data.stdout, data.stderr


def test_terminal_and_file_both_have_it_at_once(
    manager: TeeComputeLogManager, capfd: pytest.CaptureFixture[str]
) -> None:
    with manager.capture_logs(LOG_KEY):
        print("a result")
        print("a warning", file=sys.stderr)
        assert capfd.readouterr() == ("a result\n", "a warning\n")
        assert captured(manager) == (b"a result\n", b"a warning\n")
        assert not manager.is_capture_complete(LOG_KEY)
    print("afterwards")
    assert captured(manager) == (b"a result\n", b"a warning\n")
    assert manager.is_capture_complete(LOG_KEY)


def test_no_process_is_started_for_it(
    manager: TeeComputeLogManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK_OF_THIS_TEST", str(tmp_path))
    with manager.capture_logs(LOG_KEY):
        assert processes_of(f"MARK_OF_THIS_TEST={tmp_path}") == []


def test_streams_are_as_before_after_an_interrupt(manager: TeeComputeLogManager) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyboardInterrupt), manager.capture_logs(LOG_KEY):
        raise KeyboardInterrupt
    assert (sys.stdout, sys.stderr) == before


def test_full_disk_does_not_fail_the_step(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", NO_ROOM, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "said all the same\ndone\n"), result.stderr
    assert result.stderr == ""


def test_text_that_is_not_unicode_is_kept_readable(
    manager: TeeComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with manager.capture_logs(LOG_KEY):
        print("caf\udce9")
    assert captured(manager)[0] == b"caf\\udce9\n"


def manager_of(instance: DagsterInstance) -> object:
    with instance:
        return instance.compute_log_manager


def test_folder_of_the_instance_is_respected(tmp_path: Path) -> None:
    local = {"module": "dagster.core.storage.local_compute_log_manager", "class": "LocalComputeLogManager"}
    config = {"compute_logs": {**local, "config": {"base_dir": str(tmp_path / "elsewhere")}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    manager = manager_of(open_instance(tmp_path))
    assert isinstance(manager, TeeComputeLogManager)
    assert manager.get_captured_local_path(LOG_KEY, "out").startswith(str(tmp_path / "elsewhere"))


def test_another_manager_of_the_instance_stays(tmp_path: Path) -> None:
    other = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"compute_logs": other}), "utf-8")
    assert type(manager_of(open_instance(tmp_path))).__name__ == "NoOpComputeLogManager"


@dg.op
def talks() -> None:
    print("from the step")


@dg.job
def talking() -> None:
    talks()


def test_ui_finds_the_output_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_instance(tmp_path) as instance:
        run = talking.execute_in_process(instance=instance)
    assert "from the step" in capfd.readouterr().out
    # As the webserver does: with Dagster's own class, in another process.
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        (event,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
        assert event.dagster_event is not None
        key = [run.run_id, "compute_logs", event.dagster_event.logs_captured_data.file_key]
        assert b"from the step" in (instance.compute_log_manager.get_log_data(key).stdout or b"")
