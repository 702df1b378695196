"""A child process that never outlives its owner; see ``watchdog.py``."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from embedder_assets.serving.server.watchdog import SIGNALLED

WATCHDOG = str(Path(__file__).parent / "watchdog.py")
CHARACTERS_SHOWN = 300
LOG_BYTES_READ = 64_000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class WatchedProcess:
    """A command under a watchdog, which ends it when this process ends in any way."""

    def __init__(
        self,
        command: Sequence[str],
        log_file: Path,
        *,
        environment: Mapping[str, str] | None = None,
        scratch: Path | None = None,
        shm_prefix: str = "",
    ) -> None:
        """Starts the command.

        Args:
            command: Program and arguments.
            log_file: Gets standard output and error, appended.
            environment: Of the command; this process's own by default. The arguments in its variable ``HIDDEN`` of
                ``watchdog`` are the command's last ones, and the command does not get the variable.
            scratch: A folder that is removed when the command has ended.
            shm_prefix: Files in /dev/shm that begin with it are removed when the command has ended.
        """
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", WATCHDOG, str(log_file), str(scratch or ""), shm_prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=dict(environment or os.environ),
        )
        assert self._watchdog.stdout is not None
        self.pid = int(self._watchdog.stdout.readline() or 0)

    @property
    def running(self) -> bool:
        """Whether the command still runs."""
        return self._watchdog.poll() is None

    @property
    def how_it_ended(self) -> str:
        """The exit status of the command, or the signal that ended it, in words."""
        status = self._watchdog.poll()
        if status is None:
            return "it runs"
        # Nobody has seen how the command ended if its watchdog was killed.
        number = -status if status < 0 else status - SIGNALLED
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(number).name}"
        return f"exit status {status}"

    def stop(self, *, at_once: bool = False) -> None:
        """Ends the command and waits for it; calling it twice is harmless.

        Args:
            at_once: Without the grace in which a server finishes what it does.
        """
        if self._watchdog.stdin is not None and not self._watchdog.stdin.closed:
            with contextlib.suppress(OSError):
                if at_once:
                    self._watchdog.stdin.write(b"!")
                self._watchdog.stdin.close()
        if self._watchdog.wait() < 0 and self.pid:
            # The watchdog itself was killed, and the kernel has ended the command with it, but not its children.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def last_lines(log: Path, count: int, since: int = 0) -> list[str]:
    """The last lines of a log that say something, fit for a terminal; none where it cannot be read.

    Args:
        log: The file.
        count: How many at most.
        since: The offset in bytes where it begins to be of interest.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(since, file.seek(0, os.SEEK_END) - LOG_BYTES_READ))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [_printable(line) for line in lines if line.strip()][-count:]


def _printable(line: str) -> str:
    """A line of a log without colours, and without anything else that a terminal obeys."""
    shown = "".join(each if each.isprintable() else " " for each in _COLOURS.sub("", line)).rstrip()
    return shown if len(shown) <= CHARACTERS_SHOWN else f"{shown[:CHARACTERS_SHOWN]}…"
