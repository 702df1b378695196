"""Rows of cells as a Markdown table: what spreadsheets, HTML, and office formats become alike."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose header is the first row, with a line end behind it; empty without rows.

    Args:
        rows: The text of each cell; a row that is too short is filled with empty cells.
    """
    width = max(map(len, rows), default=0)
    if not width:
        return ""
    lines = [_line([*row, *[""] * (width - len(row))]) for row in rows]
    return "\n".join([lines[0], _line(["---"] * width), *lines[1:]]) + "\n"


def _line(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
