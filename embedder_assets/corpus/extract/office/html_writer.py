"""Lists and tables as HTML, for formats whose own elements become HTML on the way to Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple


class Item(NamedTuple):
    """An item of a list: its level from 0, its content as HTML, and its number, if its list has numbers."""

    level: int
    html: str
    number: int | None = None


class TableCell(NamedTuple):
    """A cell of a table: its content as HTML, and how many rows and columns it covers."""

    html: str
    rows: int = 1
    columns: int = 1


def html_list(items: Sequence[Item]) -> str:
    """Items as lists in each other by their levels; an item that skips a level is one level below the item above."""
    parts: list[str] = []
    open_lists: list[tuple[int, str]] = []
    for item in items:
        tag = "ul" if item.number is None else "ol"
        while open_lists and open_lists[-1][0] > item.level:
            parts.append(f"</li></{open_lists.pop()[1]}>")
        if open_lists and open_lists[-1] == (item.level, tag):
            parts.append("</li>")
        else:
            if open_lists and open_lists[-1][0] == item.level:
                parts.append(f"</li></{open_lists.pop()[1]}>")
            parts.append(f"<{tag}>")
            open_lists.append((item.level, tag))
        parts.append(f"<li>{item.html}" if item.number is None else f'<li value="{item.number}">{item.html}')
    parts += [f"</li></{tag}>" for _, tag in reversed(open_lists)]
    return "".join(parts)


def html_table(rows: Iterable[Sequence[TableCell]]) -> str:
    """A table whose first row is its header."""
    parts = []
    for at, row in enumerate(rows):
        tag = "td" if at else "th"
        cells = (
            f"<{tag}{_span('rowspan', cell.rows)}{_span('colspan', cell.columns)}>{cell.html}</{tag}>" for cell in row
        )
        parts.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(parts)}</table>" if parts else ""


def text_table(rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts."""
    return html_table([TableCell(escape(text)) for text in row] for row in rows)


def _span(name: str, value: int) -> str:
    return f' {name}="{value}"' if value > 1 else ""
