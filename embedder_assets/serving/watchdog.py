"""Runs one command and ends it, children included, as soon as the process that started the watchdog is gone.

Usage: ``python watchdog.py LOG_FILE SCRATCH_FOLDER SHM_PREFIX COMMAND…``, scratch folder and prefix possibly empty.
The variable ``EMBEDDER_HIDDEN_ARGUMENTS`` may hold more arguments of the command, as a JSON list. Standard input is a
pipe that the owner holds open. The kernel closes it when the owner ends in any way, ``kill -9`` included. A byte in it
asks for an end at once, without the grace that a server takes to finish what it does. Standard library only: it starts
in a few milliseconds and must not fail for want of a package.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 10
# Added to the number of the signal that ended the command.
SIGNALLED = 128
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Starts the command, writes its pid to standard output, and waits for it or for the owner's end.

    Returns:
        The exit status of the command, or 128 and the number of the signal that ended it.
    """
    log_file, scratch, shm_prefix, *command = arguments
    command += json.loads(os.environ.pop("EMBEDDER_HIDDEN_ARGUMENTS", "[]"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # The command's own children become ours when it dies: some machines' init takes a second to see that they are dead.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with Path(log_file).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
    ends: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)
    try:
        print(child.pid, flush=True)
        if _wait_for_end(child):
            ends = ends[1:]
    finally:
        _end_group(child, ends)
        if shm_prefix:
            for region in Path("/dev/shm").glob(f"{shm_prefix}*"):
                region.unlink(missing_ok=True)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    # As a shell has it: an exit status has no sign.
    return child.returncode if child.returncode >= 0 else SIGNALLED - child.returncode


def _die_with_parent() -> None:
    # A second rope: if the watchdog itself is killed, the kernel ends its child.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for_end(child: subprocess.Popen[bytes]) -> bool:
    """Returns when the command has ended or shall end; whether at once."""
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable:
            return bool(os.read(0, 1))
    return False


def _end_group(child: subprocess.Popen[bytes], ends: tuple[signal.Signals, ...]) -> None:
    for end in ends:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    # Its own children are dying too, and may still be in the middle of something.
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and _is_alive(child.pid):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-child.pid, os.WNOHANG)
        time.sleep(0.02)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
