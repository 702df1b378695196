"""What a dashboard is made of, and what more than one of them shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# Every collection, or those chosen at the top of the dashboard.
CHOSEN = 'collection=~"$collection"'


@dataclass(frozen=True)
class Query:
    """A PromQL expression and what the legend says of each of its series."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One graph over time, or one number.

    Attributes:
        unit: In Grafana's words: ``s``, ``percentunit`` (0 to 1), ``bytes`` (1024), ``decbytes`` (1000), ``ops``
            (per second), ``short`` and ``none`` (plain numbers).
        needs_gpu: Whether it stays empty without a GPU.
        warn: The value at which it turns red, or green again where less is worse.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    needs_gpu: bool = False
    warn: float | None = None
    less_is_worse: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]

    def lines(self) -> list[tuple[Panel, ...]]:
        """The panels side by side: as few lines as are full, with four panels at most, or all numbers in one."""
        count = len(self.panels)
        per_line = count if self.panels[0].kind == "stat" else next((n for n in (3, 4, 2) if count % n == 0), 3)
        return [self.panels[start : start + per_line] for start in range(0, count, per_line)]


@dataclass(frozen=True)
class Dashboard:
    """One page of Grafana; ``uid`` is its address, and the name of its JSON file."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """All panels, in the order in which they are read."""
        for row in self.rows:
            yield from row.panels


# What more than one dashboard shows.
INFERENCES = Query("triton:inferences:rate5m", "{{model}}")
COVERAGE = Query(f"rag_sparse_coverage_ratio{{{CHOSEN}}}", "{{collection}}")
FALLBACKS = Query("sum by (reason) (increase(rag_rerank_fallback_total[1h]))", "{{reason}}")
