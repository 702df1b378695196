"""Draws the dashboards from a Prometheus, for pages that are read without a Grafana.

``python -m monitoring.grafana.pictures --prometheus http://127.0.0.1:9090 --minutes 30 --to docs/telemetry/images``
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter
from numpy.typing import NDArray

from monitoring.grafana.panels import DASHBOARDS, Dashboard, Panel, Query


def _duration(seconds: float, _: Any = None) -> str:
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return EngFormatter("s", places=None)(seconds)


UNITS: dict[str, Any] = {
    "s": FuncFormatter(_duration),
    "bytes": EngFormatter("B"),
    "decbytes": EngFormatter("B"),
    "ops": FuncFormatter(lambda value, _: f"{value:g}/s"),
    "percentunit": FuncFormatter(lambda value, _: f"{value:.0%}"),
    "short": FuncFormatter(lambda value, _: f"{value:g}"),
    "none": FuncFormatter(lambda value, _: f"{value:.3g}"),
}
# As many points as Grafana asks for at this width.
POINTS = 240
COLUMNS = 12


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API.

    Args:
        address: For example ``http://127.0.0.1:9090``.
    """

    address: str

    def series(self, query: Query, seconds: float) -> list[tuple[str, list[tuple[float, float]]]]:
        """What a query returns for the last ``seconds``: a legend, and times (Unix seconds) with values.

        Raises:
            click.ClickException: There is no Prometheus, or it refuses the query.
        """
        now = time.time()
        asked = {
            "query": query.expression.replace("$collection", ".*"),
            "start": now - seconds,
            "end": now,
            "step": max(1, round(seconds / POINTS)),
        }
        url = f"{self.address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                found = json.load(response)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise click.ClickException(f"Prometheus refuses {query.expression}: {error.read().decode()}") from error
        except OSError as error:
            raise click.ClickException(
                f"No Prometheus answers at {self.address} ({error}). Start one: monitoring/README.md"
            ) from error
        return [
            (_legend(query.legend, one["metric"]), [(float(at), float(value)) for at, value in one["values"]])
            for one in found
        ]


def draw(page: Dashboard, prometheus: Prometheus, seconds: float, file: Path) -> None:
    """Writes a picture (PNG) of a dashboard over the last ``seconds``."""
    lines = [line for row in page.rows for line in row.lines()]
    heights = [1.0 if line[0].kind == "stat" else 2.4 for line in lines]
    figure = Figure(figsize=(16, sum(heights) * 1.35 + 0.8), layout="constrained", facecolor="white")
    figure.suptitle(page.title, fontsize=15, fontweight="bold")
    grid = figure.add_gridspec(len(lines), COLUMNS, height_ratios=heights)
    for number, line in enumerate(lines):
        width = COLUMNS // len(line)
        for place, panel in enumerate(line):
            axes = figure.add_subplot(grid[number, place * width : (place + 1) * width])
            found = [one for query in panel.queries for one in prometheus.series(query, seconds)]
            (_number if panel.kind == "stat" else _graph)(axes, panel, found)
    figure.savefig(file, dpi=80)


def _number(axes: Axes, panel: Panel, found: list[tuple[str, list[tuple[float, float]]]]) -> None:
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=10)
    if not found:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", color="grey")
        return
    _, points = found[0]
    value = points[-1][1]
    wrong = panel.warn is not None and (value < panel.warn if panel.less_is_worse else value >= panel.warn)
    text = UNITS[panel.unit](value, None)
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=22, color="firebrick" if wrong else "seagreen")


def _graph(axes: Axes, panel: Panel, found: list[tuple[str, list[tuple[float, float]]]]) -> None:
    axes.set_title(panel.title, fontsize=10)
    for legend, points in found:
        times, values = _with_gaps(points)
        axes.plot(times.astype("datetime64[s]"), values, label=legend, linewidth=1.6)
    if found:
        axes.legend(fontsize=7, loc="best", framealpha=0.7)
    else:
        why = "no data: no GPU" if panel.needs_gpu else "no data"
        axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color="grey")
        axes.set_xticks([])
    highest = max((value for _, points in found for _, value in points if math.isfinite(value)), default=0)
    axes.set_ylim(0, 1.1 * highest or 1)
    axes.yaxis.set_major_formatter(UNITS[panel.unit])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _with_gaps(points: list[tuple[float, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times (int64, Unix seconds) and values (float64), with a NaN where there was no sample: the line is cut there."""
    times, values = np.array(points).T
    steps = np.diff(times, prepend=times[0])
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps))
    return np.insert(times, gaps, times[gaps]).astype(np.int64), np.insert(values, gaps, np.nan)


def _legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda name: labels.get(name[1], ""), template).strip()


@click.command
@click.option("--prometheus", "address", default="http://127.0.0.1:9090", show_default=True, help="Its address.")
@click.option("--minutes", default=60, show_default=True, help="How far back.")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="Where the pictures go.")
def main(address: str, minutes: int, folder: Path) -> None:
    """Draw every dashboard from a Prometheus."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in DASHBOARDS:
        file = folder / f"{page.uid}.png"
        with rc_context({"date.converter": "concise"}):
            draw(page, Prometheus(address), minutes * 60, file)
        click.echo(file)


if __name__ == "__main__":
    main()
