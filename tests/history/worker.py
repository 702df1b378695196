"""The processes of a history: each a fork of one that has loaded the product, so that a command starts at once."""

from __future__ import annotations

import contextlib
import ctypes
import io
import multiprocessing
import os
import shutil
import subprocess
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from embedder_assets import run as launch  # noqa: F401 - loaded before the fork
from embedder_assets.cli import main as cli
from embedder_assets.retrieval import search  # noqa: F401
from tests.chaos.started import TIMEOUT_S, Ended
from tests.history.moments import Moment, watch

CLOCK = Path(__file__).with_name("clock.c")
PROBE_S = 10**6
# Of linux/capability.h: what lets root pass by the mode bits of files.
_MODE_BITS_PASSED = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24


@dataclass(frozen=True)
class Command:
    """A command of ``embedder``, and in which world it runs.

    Attributes:
        arguments: Of the command.
        environment: Variables of the product; no others are set.
        said: File for what it prints.
        clock_s: How far its clock is ahead.
        moment: When it is killed or stopped.
    """

    arguments: Sequence[str]
    environment: dict[str, str]
    said: Path
    clock_s: int = 0
    moment: Moment | None = None


@dataclass
class Running:
    """A command that goes on."""

    process: multiprocessing.process.BaseProcess
    talk: Connection
    said: Path

    began: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.process.is_alive()

    def paused(self) -> bool:
        """Whether it has just come to its pause."""
        try:
            return bool(self.talk.poll() and self.talk.recv())
        except EOFError:  # it has ended
            return False

    def go_on(self) -> None:
        """After a pause."""
        self.talk.send("go on")

    def ended(self) -> Ended:
        """Waits for the end; a command that hangs is killed."""
        self.process.join(TIMEOUT_S)
        hung = self.process.is_alive()
        if hung:
            self.process.kill()
            self.process.join()
        self.talk.close()
        seconds = time.monotonic() - self.began
        return Ended(self.process.exitcode or 0, self.said.read_text("utf-8", "replace"), seconds, hung)


class Workers:
    """Starts processes.

    Args:
        folder: For the library that moves the clock.

    Attributes:
        move_clocks: False where there is no C compiler.
    """

    def __init__(self, folder: Path) -> None:
        library = folder / "clock.so"
        if shutil.which("cc"):
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(CLOCK), "-ldl"], check=True)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, "tests.support.warm"])
        with patch.dict(os.environ, {"LD_PRELOAD": str(library)} if library.exists() else {}):
            forkserver.ensure_running()
        _, reported = self.fork(_tell_time, PROBE_S)
        self.move_clocks = reported.recv() > time.time() + PROBE_S / 2

    def start(self, command: Command) -> Running:
        """Starts a command."""
        return Running(*self.fork(_work, command), command.said)

    def fork(self, work: Any, argument: Any) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        """Does some work, which is given an argument and its end of a pipe, in a process; returns the other end."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(argument, theirs))
        process.start()
        theirs.close()
        return process, ours


def _work(command: Command, talk: Connection) -> None:
    with command.said.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    _settle(command)
    if command.moment:
        watch(command.moment, Path(command.environment["EMBEDDER_HOME"]), talk)
    cli.main(list(command.arguments), prog_name="embedder")


def serve_searches(command: Command, talk: Connection) -> None:
    """Searches as ``embedder search`` does, each time with given words and variables, until there are no words.

    Tells the exit status, and what was printed to standard output and to standard error.
    """
    _settle(command)
    words, environment = talk.recv()
    while words:
        hits, said, status = io.StringIO(), io.StringIO(), 0
        os.environ.update(environment)
        with contextlib.redirect_stdout(hits), contextlib.redirect_stderr(said):
            try:
                cli.main(["search", *words, "--json"], prog_name="embedder")
            except SystemExit as end:
                status = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
                status = 1
        talk.send((status, hits.getvalue(), said.getvalue()))
        words, environment = talk.recv()


def _tell_time(offset_s: int, talk: Connection) -> None:
    os.environ["CLOCK_OFFSET_S"] = str(offset_s)
    talk.send(time.time())


def _settle(command: Command) -> None:
    for name in list(os.environ):
        if name.startswith(("EMBEDDER_", "OTEL_", "DAGSTER_")):
            del os.environ[name]
    os.environ.update(command.environment, CLOCK_OFFSET_S=str(command.clock_s))
    os.chdir(command.environment["EMBEDDER_HOME"])
    _obey_modes()


def _obey_modes() -> None:
    """Root stays root, but permissions hold for it as for anybody."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low words, then high ones
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for capability in _MODE_BITS_PASSED:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        for each in range(3):
            sets[each] &= ~(1 << capability)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
