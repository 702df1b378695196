"""Reads documents in processes of their own, with limits of time and memory that the kernel and a clock enforce.

A library that hangs is ended, one that crashes takes its process with it, and either costs one document. A process
starts with a document, reads those that follow, and is replaced when it has failed; where documents queue, more of
them start, up to the cores.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Condition, Event, Lock, Thread, Timer
from types import TracebackType
from typing import Any

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.formats import ISOLATED, extract
from embedder_assets.corpus.extract.limits import MB, DocumentLimits, over_limit
from embedder_assets.corpus.extract.worker import NO_MEMORY, READY
from embedder_assets.errors import DocumentError, SettingsError
from embedder_assets.serving.cpu import cores

_START_S = 120  # of an interpreter, on a machine that is busy
_BYTES_PER_CHARACTER = 4  # of UTF-8, at most
_FRAME_BYTES = 1_000_000
# About what the start of a process costs: documents that queue for less are read sooner by those that run.
_GROW_AFTER_S = 0.3
# Of documents that wait behind a slow one; besides, each process may hold one of the largest size.
_WAITING_BYTES = 64 * MB
# Kinds of errors that are of the process that read a document.
_OF_THE_PROCESS = {"crashed", "out_of_memory", "timed_out"}
# What the pools of one user on this host share.
SLOTS = "embedder-assets-extract"
# Passwords are none of a parser's business.
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TZ")

Admit = Callable[[int], None]


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
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until it is ready
        with theirs:
            self._process = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for its owner, who ends it
            )

    def await_ready(self) -> None:
        """Returns when the process can read documents.

        Raises:
            SettingsError: It cannot.
        """
        with self._said as said:
            try:
                if self._exchange([], _START_S) == READY:
                    return
            except _WorkerEndedError:
                pass
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines()
        raise SettingsError(
            "the process that reads documents",
            expected="that it starts",
            got=lines[-1] if lines else f"nothing within {_START_S} seconds",
            remedy="Run `embedder doctor`, which looks at what it needs.",
        )

    def read(self, suffix: str, data: bytes, thing: str, admit: Admit) -> Extracted:
        """What the process makes of a document.

        Raises:
            DocumentError: The file cannot be used.
            _WorkerEndedError: It ended over the document.
        """
        answer = self._exchange([json.dumps([suffix, thing]).encode(), data], self._limits.seconds)
        values: dict[str, Any] = json.loads(answer)
        if "sizes" not in values:
            raise DocumentError(thing, **values)
        admit(sum(values["sizes"]))
        text, *files = [self._exchange([], self._limits.seconds) for _ in values["sizes"]]
        return Extracted.from_frames(values, text, files)

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

    def kill(self) -> None:
        """Ends the process, whatever it does; a thread that waits for its answer gets an error."""
        self._process.kill()

    def end(self) -> None:
        """Ends the process, and gives back what it held."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class IsolatedExtractor:
    """Extracts in another process; to be closed, as a context manager."""

    def __init__(self, limits: DocumentLimits) -> None:
        self._limits = limits
        self._worker: _Worker | None = None
        self._interrupted = False
        self._starting = Lock()

    def __enter__(self) -> IsolatedExtractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_worker()

    def extract(self, suffix: str, data: bytes, thing: str, admit: Admit = lambda _: None) -> Extracted:
        """The text of a file and its title.

        Args:
            suffix: Of the file.
            data: The file.
            thing: The name of the document for messages.
            admit: Given the bytes of the answer, and returns when there is room for them.

        Raises:
            DocumentError: The file cannot be used, goes beyond a limit, or ended the process.
            SettingsError: The process cannot start.
        """
        seasoned = self._worker is not None
        try:
            return self._extract_once(suffix, data, thing, admit)
        except DocumentError as error:
            # What was read before may be to blame: memory in pieces, or a library's state.
            if not seasoned or error.kind not in {"crashed", "out_of_memory"}:
                raise
        return self._extract_once(suffix, data, thing, admit)

    def interrupt(self) -> None:
        """Ends the process while another thread waits for it, and lets no other one start."""
        with self._starting:
            self._interrupted = True
            if self._worker is not None:
                self._worker.kill()

    def _extract_once(self, suffix: str, data: bytes, thing: str, admit: Admit) -> Extracted:
        worker = self._running()
        try:
            return worker.read(suffix, data, thing, admit)
        except _WorkerEndedError as ended:
            self._end_worker()
            raise self._why(thing, ended) from None

    def _running(self) -> _Worker:
        if self._worker is not None:
            return self._worker
        with self._starting:
            if self._interrupted:
                raise InterruptedError
            self._worker = _Worker(self._limits)
        try:
            self._worker.await_ready()
        except BaseException:
            self._end_worker()
            raise
        return self._worker

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


@dataclass(eq=False)
class _Job:
    """A document that is to be read; ``held`` are the bytes of it, and of its answer, that are in this process."""

    suffix: str
    data: bytes
    thing: str
    held: int
    submitted: float = field(default_factory=time.monotonic)
    waits: bool = True
    answer: Future[Extracted] = field(default_factory=Future)


class ExtractorPool:
    """Extracts in as many processes as there are cores; to be closed, as a context manager.

    What is submitted is taken in the same order. The first process starts with the first document. Another one starts
    for documents that have queued for as long as a start takes, if this user's pools together do not have as many as
    there are cores: each pool has one in any case. The bytes that are held here are bounded: the owner submits no more
    when the pool ``is_full``, and the answer of a process stays there until it has room or its turn.

    Args:
        limits: Of each document.
        processes: At most; by default one per core.
    """

    def __init__(self, limits: DocumentLimits, processes: int | None = None) -> None:
        self.processes = processes or cores()
        self._limits = limits
        self._most_bytes = _WAITING_BYTES + self.processes * limits.document_bytes
        self._held = 0
        self._jobs: deque[_Job] = deque()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._changed = Condition()
        self._closed = False
        self._extractors: list[IsolatedExtractor] = []
        self._threads: list[Thread] = []
        self._grown = 0.0
        self._slots = ExitStack()

    def __enter__(self) -> ExtractorPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for extractor in self._extractors:
            self._queue.put(None)
            extractor.interrupt()
        for thread in self._threads:
            thread.join()
        self._slots.close()

    @property
    def is_full(self) -> bool:
        """Whether what was submitted should be taken before there is more."""
        return self._held >= self._most_bytes

    @property
    def is_ready(self) -> bool:
        """Whether what comes next can be taken without waiting."""
        return self._jobs[0].answer.done()

    def submit(self, suffix: str, data: bytes, thing: str) -> None:
        """Has a document read; see ``IsolatedExtractor.extract``."""
        job = _Job(suffix, data, thing, len(data))
        with self._changed:
            self._jobs.append(job)
            self._held += job.held
        self._queue.put(job)
        self._grow()

    def take(self) -> Extracted:
        """What has become of the document that was submitted first, of those that are left; raises as ``extract``."""
        job = self._jobs[0]
        self._grow()  # also where each answer comes at once, while many documents wait
        while not wait([job.answer], _GROW_AFTER_S).done:
            self._grow()
        with self._changed:
            self._jobs.popleft()
            self._held -= job.held
            self._changed.notify_all()
        return job.answer.result()

    def _grow(self) -> None:
        now, running = time.monotonic(), len(self._threads)
        if running == self.processes or (running and now - self._grown < _GROW_AFTER_S):
            return
        waiting = [job for job in self._jobs if job.waits]
        if running and (not waiting or now - waiting[0].submitted < _GROW_AFTER_S):
            return
        # Twice as many each time: 64 after two seconds.
        for _ in range(min(max(1, running), len(waiting), self.processes - running)):
            if self._threads and not self._take_slot():
                break
            extractor = IsolatedExtractor(self._limits)
            self._extractors.append(extractor)
            self._threads.append(Thread(target=self._serve, args=[extractor], name="extract", daemon=True))
            self._threads[-1].start()
        self._grown = now

    def _take_slot(self) -> bool:
        """Takes one of the slots for processes beyond the first: names that the kernel frees with their owner."""
        for number in range(1, self.processes):
            slot = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                slot.bind(f"\0{SLOTS}-{os.getuid()}-{number}")
            except OSError:
                slot.close()
            else:
                self._slots.enter_context(slot)
                return True
        return False

    def _serve(self, extractor: IsolatedExtractor) -> None:
        with extractor:
            while (job := self._queue.get()) is not None and not self._closed:
                self._answer(job, extractor)

    def _answer(self, job: _Job, extractor: IsolatedExtractor) -> None:
        job.waits = False

        def admit(size: int) -> None:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or job is self._jobs[0] or self._held + size <= self._most_bytes
                )
                # A process that died over its answer is asked again.
                self._held += len(job.data) + size - job.held
                job.held = len(job.data) + size

        try:
            try:
                answer = extractor.extract(job.suffix, job.data, job.thing, admit)
            except DocumentError as error:
                # The limits of a process are for libraries: text is the same wherever it is read.
                if job.suffix in ISOLATED or error.kind not in _OF_THE_PROCESS:
                    raise
                answer = extract(job.suffix, job.data, job.thing, self._limits)
        except BaseException as error:  # for the owner, who waits
            job.answer.set_exception(error)
            return
        with self._changed:
            self._held -= len(job.data)
            job.held -= len(job.data)
            job.data = b""
        job.answer.set_result(answer)
