"""Commands as forks of a process that has loaded the product: two seconds of imports less for each.

For tests that look at what a command says, leaves and returns. ``/proc`` shows the variables and the command line of
the process that was forked: where those count, and in the tests of the terminal and of Ctrl-C, the console script
itself is started.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Console script to the module with its ``main``.
PROGRAMS = {"embedder": "embedder_assets.__main__", "dagster": "dagster._cli"}
LONGEST_MESSAGE = 2**20
CHILD = 0


class LoadedCommand:
    """A command that runs, with the part of ``subprocess.Popen``'s methods that tests need."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """The exit status, below 0 for a signal; None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit status."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._connection.recv(LONGEST_MESSAGE))
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("embedder", timeout or 0) from error
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, stdout: IO[bytes], stderr: IO[bytes]
) -> LoadedCommand:
    """Starts one of the programs with its arguments; its output goes to files."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(_server())
    message = json.dumps({"command": list(command), "environment": dict(environment), "cwd": str(cwd)})
    socket.send_fds(connection, [message.encode()], [stdout.fileno(), stderr.fileno()])
    return LoadedCommand(connection, int(connection.recv(LONGEST_MESSAGE)))


def run(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, as ``subprocess.run`` does."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = start(command, environment, cwd, stdout, stderr)
        try:
            process.wait(timeout)
        finally:
            process.kill()
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(list(command), process.wait(), *said)


@functools.cache
def _server() -> str:
    """The address of this process's server, which ends with it."""
    folder = tempfile.mkdtemp(prefix="loaded-")
    address = f"{folder}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return address


def _serve(address: str) -> None:
    mains = {name: importlib.import_module(module).main for name, module in PROGRAMS.items()}
    importlib.import_module("tests.support.warm")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
        print("ready", flush=True)
        while sys.stdin not in (readable := select.select([listener, sys.stdin], [], [])[0]):
            assert readable
            connection, _ = listener.accept()
            if os.fork() == CHILD:
                _supervise(connection)
                break  # only the command itself comes here
            connection.close()
        else:
            return
    mains[sys.argv[0]]()


def _supervise(connection: socket.socket) -> None:
    """Forks the command, and reports its process id and its exit status; returns in the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, *_ = socket.recv_fds(connection, LONGEST_MESSAGE, 2)
    pid = os.fork()
    if pid != CHILD:
        connection.send(str(pid).encode())
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        os._exit(0)
    connection.close()
    wanted = json.loads(message)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, file in enumerate((nothing, *files)):
        os.dup2(file, target)
        os.close(file)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = wanted["command"]
    tempfile.tempdir = None  # TMPDIR may be another one
    sys.modules["__main__"].__package__ = None  # from it click takes the name of the program


if __name__ == "__main__":
    _serve(sys.argv[1])
