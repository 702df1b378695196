"""The watchdog of a child process: nothing is left behind, and nobody sees what is hidden."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from embedder_assets.serving.server.child_process import WatchedProcess
from embedder_assets.serving.server.watchdog import HIDDEN
from tests.support.processes import eventually, is_running

SLEEP = ["sleep", "600"]


OWNER = """
import sys, time
from pathlib import Path
from embedder_assets.serving.server.child_process import WatchedProcess
log, scratch, prefix = sys.argv[1:]
print(WatchedProcess(["sleep", "600"], Path(log), scratch=Path(scratch), shm_prefix=prefix).pid, flush=True)
time.sleep(600)
"""


def test_killed_owner_ends_the_command(tmp_path, scratch, shm):
    file, prefix = shm
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log"), str(scratch), prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        assert is_running(pid)
        owner.send_signal(signal.SIGKILL)
    assert eventually(lambda: not is_running(pid))
    assert eventually(lambda: not scratch.exists())
    assert not file.exists()


def test_killed_watchdog_ends_the_command(tmp_path):
    process = WatchedProcess(SLEEP, tmp_path / "log")
    os.kill(process._watchdog.pid, signal.SIGKILL)
    assert eventually(lambda: not is_running(process.pid))
    process.stop()


def test_children_end_with_the_command(tmp_path):
    log = tmp_path / "log"
    process = WatchedProcess(["sh", "-c", "sleep 600 & echo $!; wait"], log)
    assert eventually(lambda: log.read_text().endswith("\n"))
    child = int(log.read_text())
    assert is_running(child)
    process.stop()
    assert eventually(lambda: not is_running(child))


def test_orphaned_children_are_reaped(tmp_path):
    # Some machines' init looks for dead children once a second, and every run would wait for it.
    process = WatchedProcess(["sh", "-c", "(sleep 600 & echo $!); exec sleep 600"], tmp_path / "log")
    assert eventually(lambda: bool((tmp_path / "log").read_text()))
    orphan = int((tmp_path / "log").read_text())
    assert eventually(lambda: f"PPid:\t{process._watchdog.pid}\n" in Path(f"/proc/{orphan}/status").read_text())
    process.stop(at_once=True)
    assert not Path(f"/proc/{orphan}").exists()


SHOW = (
    "import os, sys, time; print(sys.argv[1:], [n for n in os.environ if 'HIDDEN' in n], flush=True); time.sleep(600)"
)


@pytest.fixture
def seen_by_others():
    """The command lines of all processes, looked at without a pause while the test runs."""
    seen, over = set(), threading.Event()

    def look() -> None:
        while not over.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(file.read_bytes())

    watcher = threading.Thread(target=look)
    watcher.start()
    yield seen
    over.set()
    watcher.join()


def test_hidden_arguments_are_not_in_ps(tmp_path, seen_by_others):
    hidden = ["--key=s3cret", "s3cret too"]
    for number in range(5):
        log = tmp_path / f"log {number}"
        process = WatchedProcess(
            [sys.executable, "-c", SHOW, "open"], log, environment={**os.environ, HIDDEN: json.dumps(hidden)}
        )
        assert eventually(lambda log=log: bool(log.read_text()))
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.stop(at_once=True)
        assert log.read_text() == "['open', '--key=s3cret', 's3cret too'] []\n"
        assert shown.endswith(b"\0open\0(hidden)\0(hidden)\0")
    assert any(b"watchdog.py" in each for each in seen_by_others)
    assert not any(b"s3cret" in each for each in seen_by_others)


def test_command_needs_its_hidden_argument(tmp_path):
    process = WatchedProcess(["/nowhere/server"], tmp_path / "log", environment={HIDDEN: '["s3cret"]'})
    assert eventually(lambda: not process.running)
    assert process.pid == 0
    assert "/nowhere/server was not started" in (tmp_path / "log").read_text()


def test_shared_memory_keeps_its_permissions(tmp_path, shm):
    file, prefix = shm
    # As Boost makes a region, which Triton's Python backend calls.
    make = (
        "import os, sys; os.umask(0o077); new = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644); "
        "os.fchmod(new, 0o644); os.write(new, b'text'); print(oct(os.fstat(new).st_mode), flush=True)"
    )
    for given, mode in ((prefix, "0o100600"), ("", "0o100644")):
        log = tmp_path / f"log{given}"
        process = WatchedProcess([sys.executable, "-c", make, f"{file}-{given}"], log, shm_prefix=given)
        assert eventually(lambda process=process: not process.running)
        assert log.read_text().strip() == mode
    Path(f"{file}-").unlink()
