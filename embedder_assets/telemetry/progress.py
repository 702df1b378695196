"""The progress of a long step in its log, for those who look at a run in the UI."""

from __future__ import annotations

import time
from collections.abc import Callable

from embedder_assets.sanitize import one_line
from embedder_assets.telemetry.stage_record import ProgressReport

EVERY_S = 30.0
# Passed on at most so often: a walk over documents that have not changed does ten thousand per second.
SHOWN_EVERY_S = 0.1


class LoggedProgress:
    """Passes progress on, and logs it every half minute; a step that is quicker logs nothing.

    Args:
        report: Given all of it.
        log: Given a sentence at a time.
    """

    def __init__(self, report: ProgressReport, log: Callable[[str], None]) -> None:
        self._report = report
        self._log = log
        self._shown = 0.0
        self._due = time.monotonic() + EVERY_S
        self._work: tuple[str, str] | None = None
        self._began, self._done_before = 0.0, 0

    def __call__(self, stage: str, collection: str, done: int, total: int, pages: int = 0) -> None:
        """Takes the items done, the items in all (0 where that is not known) and the pages of those done."""
        now = time.monotonic()
        if now - self._shown < SHOWN_EVERY_S and done != total:
            return
        self._shown = now
        self._report(stage, collection, done, total, pages)
        if (stage, collection) != self._work:
            # What the first report has done already may have been there before.
            self._work, self._began, self._done_before = (stage, collection), now, done
        if now >= self._due:
            self._due = now + EVERY_S
            self._log(one_line(f"{stage} {collection}: {self._words(done, total, pages, now - self._began)}"))

    def _words(self, done: int, total: int, pages: int, seconds: float) -> str:
        words = f"{done} of {total} done" if total else f"{done} done"
        words += f" ({pages} pages)" if pages else ""
        rate = (done - self._done_before) / seconds if seconds else 0.0
        if rate > 0:
            words += f", {rate:.3g} per second"
            words += f", about {_duration((total - done) / rate)} remaining" if total > done else ""
        return words


def _duration(seconds: float) -> str:
    """A time as a person says it: the larger unit and the next one."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
