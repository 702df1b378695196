"""What steps print in this process: it goes to the terminal at once, and into the file that the UI shows.

Dagster's own capture sends standard output and error of a run to that file, and starts four processes that copy them
back to the terminal. A progress bar then comes in bursts, and those processes die noisily on Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from embedder_assets.instance.dagster_private import CapturedLogContext, ConfigurableClassData, LocalComputeLogManager


class TeeComputeLogManager(LocalComputeLogManager):
    """Dagster's class, with a capture that leaves standard output and error where they are."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> TeeComputeLogManager:
        """The manager of an instance."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        """Copies what this process prints through ``sys.stdout`` and ``sys.stderr`` while the context lasts."""
        redirections = {"out": (sys.stdout, redirect_stdout), "err": (sys.stderr, redirect_stderr)}
        with ExitStack() as stack:
            for extension, (stream, redirect) in redirections.items():
                path = Path(self.get_captured_local_path(log_key, extension))
                path.parent.mkdir(parents=True, exist_ok=True)
                copy = path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
                stack.callback(_close, copy)
                stack.enter_context(redirect(cast("TextIO", _Tee(stream, copy))))
            yield CapturedLogContext(log_key)
        Path(self.get_captured_local_path(log_key, "complete")).touch()


class _Tee:
    """A stream that also writes into a file; a file that takes no more costs its copy only."""

    def __init__(self, stream: TextIO, copy: TextIO) -> None:
        self._stream = stream
        self._copy = copy

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._copy.write(text)
        return self._stream.write(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _close(copy: TextIO) -> None:
    # What found no room in the file is still in its buffer.
    with suppress(OSError):
        copy.close()
