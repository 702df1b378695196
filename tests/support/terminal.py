"""A command in a real terminal: what it shows and when, and Ctrl-C as a person types it."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CTRL_C = b"\x03"
STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass
class Terminal:
    """A command that runs in a terminal of its own. To be closed, as a context manager.

    Attributes:
        shown: What it has shown so far, without what steers the terminal.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    shown: str = field(default="", init=False)

    def __enter__(self) -> Terminal:
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(self.folder)
            os.execvpe(self.command[0], list(self.command), dict(self.environment))
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)

    def until(self, words: str, seconds: float = 60) -> bool:
        """Reads until it has shown some words, or has ended; whether it has shown them."""
        deadline = time.monotonic() + seconds
        while words not in self.shown and time.monotonic() < deadline:
            if not self._read():
                break
        return words in self.shown

    def type(self, keys: bytes) -> None:
        """What a person types."""
        os.write(self._terminal, keys)

    def end(self, seconds: float = 60) -> int:
        """Reads to the end; gives the exit status."""
        self.until("\0", seconds)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        """Whether the command may have more to show."""
        if not select.select([self._terminal], [], [], 0.05)[0]:
            return True
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        self.shown += STEERING.sub("", data.decode("utf-8", "replace"))
        return bool(data)
