"""A run of the system, as a process that is watched from outside."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support import loaded

TIMEOUT_S = 240
# How the command begins the line that says what was wrong.
SENTENCES = ("failed ", "Error: ", "Aborted", "Interrupted.")


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: Exit status; below 0 for the signal that killed it.
        said: All that it printed.
        seconds: How long it took.
        hung: Whether it had to be killed because it did not end.
    """

    status: int
    said: str
    seconds: float
    hung: bool = False

    @property
    def well(self) -> bool:
        return self.status == 0

    @property
    def sentences(self) -> str:
        """The lines that say what was wrong; empty where none does."""
        return "\n".join(line for line in self.said.splitlines() if line.startswith(SENTENCES))

    @property
    def sentence(self) -> str:
        """The first of them."""
        return self.sentences.partition("\n")[0]

    def problems(self) -> list[str]:
        """What no run may do, whatever is done to it."""
        found = []
        if self.hung:
            found.append(f"it did not end within {TIMEOUT_S} s")
        elif self.status > 0 and not self.sentence:
            found.append(f"it failed with {self.status} and did not say why: {self.said[-800:]}")
        if "Traceback" in self.said:
            found.append(f"it printed a traceback: {self.said[-1500:]}")
        return found


class Started:
    """A run whose output goes to a file, so that it never waits for a reader."""

    def __init__(self, command: list[str], environment: dict[str, str], said: Path) -> None:
        self._began = time.monotonic()
        self._said = said
        with said.open("wb") as file:
            self._process = loaded.start(command, environment, Path.cwd(), file, file)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, signal: int) -> None:
        self._process.send_signal(signal)

    def ended(self) -> Ended:
        """Waits for the end; a run that hangs is killed."""
        hung = False
        try:
            self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            hung = True
            self._process.kill()
            self._process.wait()
        seconds = time.monotonic() - self._began
        return Ended(self._process.wait(), self._said.read_text("utf-8", "replace"), seconds, hung)
