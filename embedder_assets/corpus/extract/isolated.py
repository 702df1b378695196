"""Reads documents in a process of its own, with limits of time and memory that the kernel and a clock enforce.

A library that hangs is ended, one that crashes takes its process with it, and either costs one document. The process
starts with the first document, reads those that follow, and is replaced when it has failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Event, Timer
from types import TracebackType
from typing import IO, Any

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit
from embedder_assets.corpus.extract.worker import NO_MEMORY, READY
from embedder_assets.errors import DocumentError, SettingsError

_START_S = 120  # of an interpreter, on a machine that is busy
# An answer is JSON: up to twelve bytes per character beyond the basic plane.
_BYTES_PER_CHARACTER = 12
_FRAME_BYTES = 1_000_000
# Passwords are none of a parser's business.
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ")


class _WorkerEndedError(Exception):
    """The process is gone: killed by the clock if ``late``."""

    def __init__(self, *, late: bool, status: int) -> None:
        super().__init__()
        self.late = late
        self.status = status


class _Worker:
    """A running process and the connection to it."""

    def __init__(self, limits: DocumentLimits) -> None:
        self._limits = limits
        ours, theirs = Pipe()
        self._connection: Connection = ours
        module = "embedder_assets.corpus.extract.worker"
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), json.dumps(asdict(limits))]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with theirs, tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for its owner, who ends it
            )
            theirs.close()
            self._await_ready(said)

    def _await_ready(self, said: IO[bytes]) -> None:
        try:
            ready = self._exchange([], _START_S) == READY
        except _WorkerEndedError:
            ready = False
        if not ready:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines()
            raise SettingsError(
                "the process that reads documents",
                expected="that it starts",
                got=lines[-1] if lines else f"nothing within {_START_S} seconds",
                remedy="Run `embedder doctor`, which looks at what it needs.",
            )

    def read(self, suffix: str, data: bytes, thing: str) -> Extracted:
        """What the process makes of a document.

        Raises:
            DocumentError: The file cannot be used.
            _WorkerEndedError: It ended over the document.
        """
        answer = self._exchange([json.dumps([suffix, thing]).encode(), data], self._limits.seconds)
        values: dict[str, Any] = json.loads(answer)
        if "text" not in values:
            raise DocumentError(thing, **values)
        files = [self._exchange([], self._limits.seconds) for _ in values["attachments"]]
        return Extracted.from_frames(values, files)

    def _exchange(self, messages: list[bytes], seconds: float) -> bytes:
        """Sends messages and takes an answer; the clock ends the process, and with it whatever blocks meanwhile."""
        late = Event()

        def end() -> None:
            late.set()
            self._process.kill()

        clock = Timer(seconds, end)
        clock.start()
        try:
            for message in messages:
                self._connection.send_bytes(message)
            most = max(self._limits.text_chars * _BYTES_PER_CHARACTER, self._limits.unpacked_bytes)
            return self._connection.recv_bytes(most + _FRAME_BYTES)
        except (EOFError, OSError):
            self.end()
            raise _WorkerEndedError(late=late.is_set(), status=self._process.returncode) from None
        finally:
            clock.cancel()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class IsolatedExtractor:
    """Extracts in another process; to be closed, as a context manager."""

    def __init__(self, limits: DocumentLimits) -> None:
        self._limits = limits
        self._worker: _Worker | None = None

    def __enter__(self) -> IsolatedExtractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_worker()

    def extract(self, suffix: str, data: bytes, thing: str) -> Extracted:
        """The text of a file and its title.

        Raises:
            DocumentError: The file cannot be used, goes beyond a limit, or ended the process.
            SettingsError: The process cannot start.
        """
        seasoned = self._worker is not None
        try:
            return self._extract_once(suffix, data, thing)
        except DocumentError as error:
            # What was read before may be to blame: memory in pieces, or a library's state.
            if not seasoned or error.kind not in {"crashed", "out_of_memory"}:
                raise
        return self._extract_once(suffix, data, thing)

    def _extract_once(self, suffix: str, data: bytes, thing: str) -> Extracted:
        self._worker = self._worker or _Worker(self._limits)
        try:
            return self._worker.read(suffix, data, thing)
        except _WorkerEndedError as ended:
            self._end_worker()
            raise self._why(thing, ended) from None

    def _why(self, thing: str, ended: _WorkerEndedError) -> DocumentError:
        if ended.late:
            return self._timed_out(thing)
        return self._out_of_memory(thing) if ended.status == NO_MEMORY else _crashed(thing, ended.status)

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _timed_out(self, thing: str) -> DocumentError:
        expected = f"that it is read within {self._limits.seconds:g} seconds"
        return over_limit(thing, kind="timed_out", expected=expected, got="no end", setting="document_timeout_s")

    def _out_of_memory(self, thing: str) -> DocumentError:
        expected = f"that it is read within {self._limits.memory_bytes / 1e6:g} MB of memory"
        return over_limit(thing, kind="out_of_memory", expected=expected, got="more")


def _crashed(thing: str, status: int) -> DocumentError:
    return DocumentError(
        thing,
        kind="crashed",
        expected="that the library for its format can read it",
        got=f"the end of the process that read it (status {status})",
        remedy="Open the file in its own application and save it again, or remove it.",
    )
