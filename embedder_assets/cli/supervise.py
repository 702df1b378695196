"""Keeps a process running: one that ends is started again with back-off, and one that keeps ending is given up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder_assets.errors import StackError
from embedder_assets.serving.server.child_process import WatchedProcess, last_lines

INITIAL_BACKOFF_S = 1.0
MAX_BACKOFF_S = 30.0
# So many ends within that time, or starts in a row without an answer, and another start would not help.
MAX_ENDS = 5
WITHIN_S = 300.0
READY_TIMEOUT_S = 120.0
REPORT_EVERY_S = 4.0
POLL_S = 0.2
LINES_SHOWN = 10


@dataclass(frozen=True)
class Component:
    """What has to run.

    Attributes:
        name: As it stands in a sentence.
        command: Program and arguments.
        log: Gets what it prints, appended.
        answers: Whether it does its work; asked until it does, not later. None: it does as soon as it runs.
        may_start: Whether nothing is left of an earlier process that a new one would run into.
        where: Where it answers, for people.
    """

    name: str
    command: Sequence[str]
    log: Path
    answers: Callable[[], bool] | None = None
    may_start: Callable[[], bool] = lambda: True
    where: Callable[[], str] = str


class SupervisedProcess:
    """A component under supervision. ``start`` it, wait until it is ready, then ``poll`` at it now and then."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self._process: WatchedProcess | None = None
        self._log_began = 0
        self._started = self._due = 0.0
        self._ready = False
        self._ends: deque[float] = deque(maxlen=MAX_ENDS)
        self._unanswered = 0

    def start(self) -> None:
        """Starts the process."""
        log = self.component.log
        self._log_began = log.stat().st_size if log.exists() else 0
        self._process = WatchedProcess(self.component.command, log)
        self._started, self._ready = time.monotonic(), False

    def stop(self) -> None:
        """Ends the process and waits for it."""
        if self._process:
            self._process.stop()
            self._process = None

    def wait_until_ready(self) -> Iterator[str]:
        """Waits for the first answer after the start, and says every few seconds that it does.

        Raises:
            StackError: The process has ended, or gives no answer in time.
        """
        reported = 0.0
        while not self._is_ready():
            waited = time.monotonic() - self._started
            if self._process is None or not self._process.running:
                raise self._failed("to start", f"its end ({self._how_it_ended()})")
            if waited > READY_TIMEOUT_S:
                raise self._failed(f"an answer within {READY_TIMEOUT_S:.0f} s", "none")
            if waited - reported >= REPORT_EVERY_S:
                reported = waited
                line = self._last_lines(1)
                yield f"waiting for {self.component.name} … {waited:.0f} s{f' (its log: {line})' if line else ''}"
            time.sleep(POLL_S)

    def poll(self) -> Iterator[str]:
        """Does what there is to do now, and says it.

        Raises:
            StackError: The process has ended too often, or has been started too often without an answer.
        """
        now = time.monotonic()
        if self._process is None:
            if now < self._due or not self.component.may_start():
                return
            if self.component.answers is not None and self.component.answers():
                # Its port was taken meanwhile: that must not pass for an answer of its own.
                yield self._ended(
                    now, f"something else answers at {self.component.where() or 'its place'}", "was not started"
                )
            else:
                self.start()
        elif not self._process.running:
            yield self._ended(now, self._how_it_ended())
        elif self._is_ready_again():
            where = self.component.where()
            yield f"{self.component.name} answers again{f': {where}' if where else ''}"
        elif not self._ready and now - self._started > READY_TIMEOUT_S:
            self._unanswered += 1
            if self._unanswered == MAX_ENDS:
                raise self._failed(f"an answer within {READY_TIMEOUT_S:.0f} s", f"none at {MAX_ENDS} starts in a row")
            yield self._ended(now, f"no answer within {READY_TIMEOUT_S:.0f} s")

    def _ended(self, now: float, how: str, what: str = "has ended") -> str:
        """Notes an end and plans the next start."""
        self.stop()
        self._ends.append(now)
        if len(self._ends) == MAX_ENDS and now - self._ends[0] <= WITHIN_S:
            raise self._failed("to keep running", f"{MAX_ENDS} ends within {WITHIN_S:.0f} s, the last one: {how}")
        recent = sum(now - each <= WITHIN_S for each in self._ends)
        pause = min(INITIAL_BACKOFF_S * 2 ** (recent - 1), MAX_BACKOFF_S)
        self._due = now + pause
        line = self._last_lines(1)
        return (
            f"{self.component.name} {what} ({how}); it is started again in {pause:.0f} s. "
            f"Its log {self.component.log} ends with: {line or '(nothing)'}"
        )

    def _is_ready(self) -> bool:
        self._ready = self._ready or self.component.answers is None or self.component.answers()
        if self._ready:
            self._unanswered = 0
        return self._ready

    def _is_ready_again(self) -> bool:
        return not self._ready and self._is_ready()

    def _how_it_ended(self) -> str:
        return self._process.how_it_ended if self._process else "not started"

    def _failed(self, expected: str, got: str) -> StackError:
        return StackError(
            self.component.name,
            expected=expected,
            got=f"{got}; its log ends with: {self._last_lines(LINES_SHOWN) or '(nothing)'}",
            remedy=f"All of it is in {self.component.log}.",
        )

    def _last_lines(self, count: int) -> str:
        """What it has said last since it was started."""
        return " | ".join(last_lines(self.component.log, count, self._log_began))
