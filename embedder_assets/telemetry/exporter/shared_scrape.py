"""One reading of the metrics for all scrapes that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector


class SharedScrape(Collector):
    """Gives every scrape metrics that were read after it had come, and reads them once for all that wait together.

    Args:
        collectors: What is read.
    """

    def __init__(self, collectors: Sequence[Collector]) -> None:
        self._collectors = collectors
        self._lock = threading.Lock()
        self._begun = 0
        self._metrics: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        """The metrics of all collectors."""
        # The one that is being read now may have been begun before what this scrape has to show.
        wanted = self._begun + 1
        with self._lock:
            if self._begun < wanted:
                self._begun += 1
                try:
                    self._metrics = [metric for each in self._collectors for metric in each.collect()]
                except BaseException:
                    self._begun -= 1
                    raise
            return iter(self._metrics)
