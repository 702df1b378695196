"""The cells of a spreadsheet as Markdown: each table of a sheet with its header, what stands above it as paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import PurePosixPath
from typing import NamedTuple

from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits, over_limit, too_long
from embedder_assets.corpus.extract.markdown_table import markdown_table

_MOST_CELLS = 5_000_000  # with those that merged cells fill; a sheet of Excel may claim 17 thousand million

# The names that programs give to sheets, in their languages.
_GIVEN_NAME = re.compile(
    r"(?i)(?:sheet|table|tabelle|feuil(?:le)?|hoja|planilha|foglio|blad|ark|list|лист|工作表)\s*\d*"
)


class Cell(NamedTuple):
    """What a cell shows, and whether that is a number, a time or a truth value instead of words."""

    text: str
    is_value: bool = False


Range = tuple[int, int, int, int]
"""First row and column, last row and column, all of them inside."""


@dataclass
class Sheet:
    """A sheet of a workbook.

    Attributes:
        name: The one on its tab.
        rows: Its cells that are not empty, by row and column, counted from 0.
        merged: Cells that are shown as one, whose content is in the first.
        notes: What is on the sheet besides its cells: texts of boxes, titles of charts.
    """

    name: str
    rows: dict[int, dict[int, Cell]] = field(default_factory=dict)
    merged: list[Range] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def title_of(names: Iterable[str], thing: str) -> str:
    """The title of a file that states none: the first name of a sheet that a person gave, or that of the file."""
    return next((name for name in names if not _GIVEN_NAME.fullmatch(name)), PurePosixPath(thing).stem)


def sheets_markdown(sheets: Iterable[Sheet], thing: str, limits: DocumentLimits) -> str:
    """A section per sheet that holds something.

    Raises:
        DocumentError: With kind ``too_large`` or ``too_long``.
    """
    parts: list[str] = []
    chars = 0
    for sheet in sheets:
        _fill_merged(sheet, thing)
        chars += sum(len(cell.text) + 1 for row in sheet.rows.values() for cell in row.values())
        if chars > limits.text_chars:
            raise too_long(thing, limits)
        blocks = [block for table in _tables(sheet.rows) for block in _table_blocks(table, thing, limits)]
        blocks += [_paragraph(note, thing, limits) for note in sheet.notes]
        if blocks:
            parts += [f"## {' '.join(sheet.name.split())}\n", *blocks]
    return "\n".join(parts)


def refuse_many_cells(count: int, sheet: str, thing: str) -> None:
    """Raises a DocumentError of kind ``too_large`` for more cells than any table has that people fill."""
    if count > _MOST_CELLS:
        expected = f"at most {_MOST_CELLS:,} cells that are merged or repeat each other"
        raise over_limit(thing, kind="too_large", expected=expected, got=f"more on the sheet {sheet}")


def _fill_merged(sheet: Sheet, thing: str) -> None:
    """Gives each of merged cells the content of all, as far as the sheet is used."""
    if not sheet.merged:
        return
    last_column = max((max(row) for row in sheet.rows.values()), default=0)
    filled = 0
    for top, left, bottom, right in sheet.merged:
        cell = sheet.rows.get(top, {}).get(left)
        if cell is None:
            continue
        for at in range(top, bottom + 1):
            if at in sheet.rows:
                columns = range(left, min(right, last_column) + 1)
                filled += len(columns)
                refuse_many_cells(filled, sheet.name, thing)
                for column in columns:
                    sheet.rows[at].setdefault(column, cell)


Grid = list[tuple[int, dict[int, Cell]]]


def _tables(rows: dict[int, dict[int, Cell]]) -> Iterator[Grid]:
    """The parts of a sheet that are tables of their own: apart by blank rows, or by blank columns."""
    pending: Grid = []
    for at in sorted(row for row in rows if rows[row]):
        if pending and at - pending[-1][0] > 1 and not _continues(pending, rows[at]):
            yield from _beside(pending)
            pending = []
        pending.append((at, rows[at]))
    if pending:
        yield from _beside(pending)


def _continues(above: Grid, row: dict[int, Cell]) -> bool:
    """Whether a row below a blank one belongs to the table above: within its columns, and not a header of its own."""
    columns = {column for _, cells in above for column in cells}
    return len(above) > 1 and set(row) <= columns and any(cell.is_value for cell in row.values())


def _beside(grid: Grid) -> Iterator[Grid]:
    """Tables next to each other: each has two columns at least, so that no value loses its label."""
    used = sorted({column for _, cells in grid for column in cells})
    groups = [[used[0]]]
    for column in used[1:]:
        if column - groups[-1][-1] > 1:
            groups.append([])
        groups[-1].append(column)
    if len(groups) == 1 or min(map(len, groups)) < 2 or len(grid) < 2:
        yield grid
        return
    for group in map(set, groups):
        part = [(at, {column: cell for column, cell in cells.items() if column in group}) for at, cells in grid]
        yield [(at, cells) for at, cells in part if cells]


def _table_blocks(grid: Grid, thing: str, limits: DocumentLimits) -> Iterator[str]:
    """What stands alone above the header as paragraphs, then the table; a column or a row of words is a paragraph."""
    columns = sorted({column for _, cells in grid for column in cells})
    first = 0
    while first < len(grid) and len(columns) > 1 and len({cell.text for cell in grid[first][1].values()}) == 1:
        if grid[first][1].get(columns[0]) is None and first:
            break
        yield _paragraph(next(iter(grid[first][1].values())).text, thing, limits)
        first += 1
    table = grid[first:]
    if not table:
        return
    if len(columns) == 1 and not any(cell.is_value for _, cells in table for cell in cells.values()):
        yield _paragraph("\n".join(cells[columns[0]].text for _, cells in table), thing, limits)
        return
    if len(table) == 1:
        yield _paragraph(" ".join(cell.text for _, cell in sorted(table[0][1].items())), thing, limits)
        return
    yield markdown_table([[cells[column].text if column in cells else "" for column in columns] for _, cells in table])


def _paragraph(text: str, thing: str, limits: DocumentLimits) -> str:
    return markdown_of_html(f"<p>{'<br>'.join(map(escape, text.splitlines()))}</p>", thing, limits)
