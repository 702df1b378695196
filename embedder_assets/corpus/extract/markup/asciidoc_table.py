"""Tables of AsciiDoc as Markdown tables, with the cells that span several filled in."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from itertools import islice

from embedder_assets.corpus.extract.markdown_table import markdown_table

_CELL = re.compile(
    r"(?:(?<!\S)(?:(?P<times>\d{1,2})\*|(?P<across>\d{1,2})?(?:\.(?P<down>\d{1,3}))?(?P<span>\+))?"
    r"[<^>]?(?:\.[<^>])?[adehlmsv]?)?(?<!\\)\|"
)
_COLUMNS = re.compile(r"\bcols\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\d+\*?|[^\s,\]]+))")
_HEADER = re.compile(
    r"%header\b|%.*%header\b|\boptions?\s*=\s*\"?[^\"\]]*\bheader\b|\bopts\s*=\s*\"?[^\"\]]*\bheader\b"
)
_SEPARATORS = {",": ",", ":": ":"}
_MAX_CELLS, _MAX_COLUMNS = 200_000, 500


def table_of_lines(lines: list[str], mark: str, attributes: str, inline: Callable[[str], str]) -> str:
    """A Markdown table.

    Args:
        lines: What stands between the lines that begin and end the table.
        mark: What the latter begin with: ``|``, or ``,`` and ``:`` for separated values.
        attributes: Those of the block, such as ``%header,cols="1,2"``.
        inline: Turns the text of a cell into Markdown.
    """
    if separator := _SEPARATORS.get(mark):
        rows = [[inline(cell) for cell in row] for row in _separated(lines, separator) if row]
    else:
        body = "\n".join(lines)
        first = _CELL.search(body)
        above = inline(" ".join(body[: first.start() if first else None].split()))  # is in no cell
        rows = _rows(body, _width(lines, attributes), inline) if first else []
        if above:
            return f"{above}\n\n{_markdown(rows, lines, attributes)}"
    return _markdown(rows, lines, attributes)


def _separated(lines: list[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error:  # a field without an end
        return [[line] for line in lines]


def _markdown(rows: list[list[str]], lines: list[str], attributes: str) -> str:
    if not rows:
        return ""
    blank_below_first = len(lines) > 1 and lines[0].strip() and not lines[1].strip()
    if not (_HEADER.search(attributes) or blank_below_first):
        rows.insert(0, [""] * max(map(len, rows)))
    return markdown_table(rows)


def _width(lines: list[str], attributes: str) -> int:
    """The number of columns: what ``cols`` says, or the cells of the first line."""
    if found := _COLUMNS.search(attributes):
        width = 0
        for column in next(filter(None, found.groups()), "").replace(";", ",").split(","):
            times = re.match(r"\s*(\d+)\*", column)
            width += int(times[1]) if times else 1
        return min(max(width, 1), _MAX_COLUMNS)
    first = next((line for line in lines if line.strip()), "")
    width = sum(int(cell["times"] or cell["across"] or 1) for cell in _CELL.finditer(first))
    return min(max(width, 1), _MAX_COLUMNS)


def _rows(body: str, width: int, inline: Callable[[str], str]) -> list[list[str]]:
    """The cells in rows of ``width``; one that spans columns or rows is in each of them."""
    marks = list(islice(_CELL.finditer(body), _MAX_CELLS))
    ends = [mark.start() for mark in marks[1:]] + [len(body)]
    grid: dict[tuple[int, int], str] = {}
    row = column = 0
    for mark, end in zip(marks, ends, strict=True):
        text = inline(" ".join(body[mark.end() : end].replace("\\|", "|").split()))
        across = min(int(mark["across"] or 1), width) if mark["span"] else 1
        for _ in range(int(mark["times"] or 1)):
            while (row, column) in grid:
                row, column = (row, column + 1) if column + 1 < width else (row + 1, 0)
            spans = mark["span"] and len(grid) < _MAX_CELLS
            for down in range(int(mark["down"] or 1) if spans else 1):
                grid.update({(row + down, column + right): text for right in range(min(across, width - column))})
    height = max((at for at, _ in grid), default=-1) + 1
    return [[grid.get((at, right), "") for right in range(width)] for at in range(height)]
