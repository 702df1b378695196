"""How metadata looks to people: a table of the first rows, a histogram."""

from __future__ import annotations

import base64
import html
from collections.abc import Container, Sequence

import dagster as dg
import numpy as np
import polars as pl

from embedder_assets.sanitize import inert_markdown, one_line

PREVIEW_ROWS = 5
CELL_CHARACTERS = 60
BAR_WIDTH, PLOT_HEIGHT, LABEL_HEIGHT = 28, 120, 18


def table_preview(
    rows: pl.DataFrame, columns: Sequence[str], whole: Container[str] = (), limit: int = PREVIEW_ROWS
) -> dg.TableMetadataValue:
    """The first rows as a table of texts, which Dagster's UI shows as they are.

    No Markdown: titles and texts are written by others, and an image in one would be fetched from where it says.

    Args:
        rows: A frame with the columns.
        columns: Those to show, in this order.
        whole: The columns whose texts are not shortened.
        limit: The most rows.
    """
    records = [
        dg.TableRecord({name: _cell(value, shorten=name not in whole) for name, value in row.items()})
        for row in rows.select(columns).head(limit).iter_rows(named=True)
    ]
    return dg.MetadataValue.table(
        records, dg.TableSchema([dg.TableColumn(name, _type(rows[name])) for name in columns])
    )


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
        f'<text x="0" y="12" font-size="12">{html.escape(title)} (highest bar: {top})</text>{"".join(parts)}</svg>'
    )
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{inert_markdown(title)}](data:image/svg+xml;base64,{encoded})")


def rate(items: int, seconds: float) -> float:
    """Items per second, rounded for people; 0 when nothing was done."""
    return round(items / seconds, 2) if items and seconds > 0 else 0.0


def _type(column: pl.Series) -> str:
    return "int" if column.dtype.is_integer() else "float" if column.dtype.is_float() else "string"


def _cell(value: object, *, shorten: bool) -> str | int | float | None:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return round(value, 4)
    text = one_line(str(value))
    return f"{text[:CELL_CHARACTERS]}…" if shorten and len(text) > CELL_CHARACTERS else text
