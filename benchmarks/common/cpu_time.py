"""CPU seconds of this process and all below it, which others on the machine change less than the clock's."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

INTERVAL_S = 0.2


class CpuTime:
    """Looks at the processes while the context lasts: what one has used is lost when it ends, so the last look counts.

    Attributes:
        seconds: What they used, once the context has ended.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._own = psutil.Process()
        self._seen: dict[tuple[int, float], float] = {}
        self._before: dict[tuple[int, float], float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> CpuTime:
        self._look()
        self._before = dict(self._seen)
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.seconds = sum(used - self._before.get(process, 0.0) for process, used in self._seen.items())

    def _run(self) -> None:
        while not self._over.wait(INTERVAL_S):
            self._look()

    def _look(self) -> None:
        for process in [self._own, *self._own.children(recursive=True)]:
            try:
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:  # has ended meanwhile
                continue
