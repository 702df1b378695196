"""How metadata looks to people: a table of the first rows, a histogram."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import dagster as dg
import numpy as np
import polars as pl

PREVIEW_ROWS = 5
CELL_CHARACTERS = 60
BAR_WIDTH, PLOT_HEIGHT, LABEL_HEIGHT = 28, 120, 18


def table_preview(rows: pl.DataFrame, columns: Sequence[str]) -> dg.MarkdownMetadataValue:
    """The first rows as a Markdown table, long texts cut."""
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for row in rows.select(columns).head(PREVIEW_ROWS).iter_rows():
        lines.append(f"| {' | '.join(_cell(value) for value in row)} |")
    return dg.MetadataValue.md("\n".join(lines))


def histogram(values: pl.Series, title: str, bins: int = 16) -> dg.MarkdownMetadataValue:
    """A histogram as a picture that Dagster shows, drawn as SVG."""
    counts, edges = np.histogram(values.to_numpy(), bins=bins) if len(values) else (np.zeros(bins), np.arange(bins + 1))
    top = max(int(counts.max()), 1)
    parts = []
    for position, count in enumerate(counts):
        x, height = position * BAR_WIDTH, PLOT_HEIGHT * int(count) / top
        parts.append(
            f'<rect x="{x}" y="{LABEL_HEIGHT + PLOT_HEIGHT - height:.0f}" width="{BAR_WIDTH - 3}" '
            f'height="{height:.0f}" fill="#4f43dd"><title>{int(count)}</title></rect>'
            f'<text x="{x}" y="{2 * LABEL_HEIGHT + PLOT_HEIGHT - 4}" font-size="9">{edges[position]:.0f}</text>'
        )
    width, height = bins * BAR_WIDTH, PLOT_HEIGHT + 2 * LABEL_HEIGHT
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        f'<text x="0" y="12" font-size="12">{title} (highest bar: {top})</text>{"".join(parts)}</svg>'
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{encoded})")


def rate(items: int, seconds: float) -> float:
    """Items a second, rounded for people; 0 when nothing was done."""
    return round(items / seconds, 2) if items and seconds > 0 else 0.0


def _cell(value: object) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    text = " ".join(text.replace("|", "\\|").split())
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}…"
