"""A child process: it is started, noticed when it ends, and stopped."""

import os

from embedder_assets.serving.server.child_process import WatchedProcess
from tests.support.processes import eventually, is_running

SLEEP = ["sleep", "600"]


def test_stop_cleans_up_and_is_idempotent(tmp_path, scratch, shm):
    file, prefix = shm
    process = WatchedProcess(SLEEP, tmp_path / "log", scratch=scratch, shm_prefix=prefix)
    assert process.running
    assert is_running(process.pid)
    process.stop()
    process.stop()
    assert not process.running
    assert not is_running(process.pid)
    assert not scratch.exists()
    assert not file.exists()


def test_end_of_the_command_is_noticed(tmp_path, scratch):
    log = tmp_path / "folder" / "log"
    for word in ("first", "second"):
        process = WatchedProcess(["sh", "-c", f"echo {word}; echo oops >&2"], log, scratch=scratch)
        assert eventually(lambda process=process: not process.running)
        process.stop()
    assert sorted(log.read_text().split()) == ["first", "oops", "oops", "second"]
    assert not scratch.exists()


def test_command_gets_its_environment(tmp_path):
    process = WatchedProcess(["sh", "-c", "echo $FRUIT"], tmp_path / "log", environment={"FRUIT": "pear", **os.environ})
    assert eventually(lambda: not process.running)
    assert (tmp_path / "log").read_text() == "pear\n"
