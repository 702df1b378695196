"""The paragraphs and tables of RTF as HTML."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby, pairwise

from embedder_assets.corpus.extract.office.html_writer import Item, TableCell, html_list, html_table

_NUMBER = re.compile(r"(\d{1,9})[.)]?")
_MOST_COLUMNS = 63  # of a table in Word
_SAME_EDGE = 60  # twips, a millimetre: edges of cells that are closer are one


@dataclass
class CellPlace:
    """Where the right edge of a cell is, in twips, and which cell it continues, if any."""

    right: int
    continues_left: bool = False
    continues_above: bool = False


@dataclass
class RowPlan:
    """The cells of a row as it is declared, and its left edge in twips."""

    left: int = 0
    cells: list[CellPlace] = field(default_factory=list)


@dataclass
class _Table:
    rows: list[tuple[RowPlan, list[str]]] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    pieces: list[Item | str] = field(default_factory=list)  # of the cell that is open


class RtfHtml:
    """Writes one flow of text: the document, a note, or a box.

    Attributes:
        label: The number or bullet of the paragraph that is open; None if it is in no list.
    """

    def __init__(self) -> None:
        self.label: str | None = None
        self._runs: list[tuple[str, tuple[str, ...], str]] = []
        self._boxes: list[str] = []
        self._pieces: list[Item | str] = []
        self._tables: list[_Table] = []

    def add(self, text: str, marks: tuple[str, ...] = (), link: str = "") -> None:
        """More of the paragraph: text whose lines end in a line feed, its marks (tags, the inner first), its link."""
        self._runs.append((link, marks, text))

    def add_box(self, html: str) -> None:
        """A box that stands behind the paragraph."""
        self._boxes.append(html)

    def end_paragraph(self, table_level: int, heading: int = 0, item_level: int | None = None) -> None:
        """Args: ``table_level`` is how many tables it is in; ``heading`` its level from 1, or 0."""
        self._at_level(table_level)
        pieces = self._tables[-1].pieces if self._tables else self._pieces
        line = _line(self._runs)
        label, self.label, self._runs = self.label, None, []
        if line.strip():
            pieces.append(_paragraph(line, label, heading, item_level))
        pieces += self._boxes
        self._boxes = []

    def end_cell(self, table_level: int, heading: int = 0, item_level: int | None = None) -> None:
        """The end of a cell, and of its last paragraph."""
        self.end_paragraph(table_level, heading, item_level)
        table = self._tables[-1]
        table.cells.append(_blocks(table.pieces))
        table.pieces = []

    def end_row(self, table_level: int, plan: RowPlan) -> None:
        """The end of a row; text behind its last cell is a cell."""
        self._at_level(table_level)
        if any(text.strip() for _, _, text in self._runs) or self._tables[-1].pieces:
            self.end_cell(table_level)
        table = self._tables[-1]
        if table.cells:
            table.rows.append((plan, table.cells))
        table.cells = []

    def html(self) -> str:
        """All of it, once it is at its end."""
        self.end_paragraph(len(self._tables))
        self._at_level(0)
        return _blocks(self._pieces)

    def _at_level(self, level: int) -> None:
        while len(self._tables) < level:
            self._tables.append(_Table())
        while len(self._tables) > level:
            table = self._tables.pop()
            outer = self._tables[-1].pieces if self._tables else self._pieces
            cells = [*table.cells, _blocks(table.pieces)] if table.pieces else table.cells
            if cells:
                table.rows.append((RowPlan(), cells))
            outer.append(html_table(_merged(table.rows)))


def _paragraph(line: str, label: str | None, heading: int, item_level: int | None) -> Item | str:
    has_word = label is not None and any(map(str.isalnum, label)) and label != "o"  # a bullet of Courier New
    if heading:
        return f"<h{heading}>{escape(label or '') if has_word else ''} {line}</h{heading}>"
    if label is None and item_level is None:
        return f"<p>{line}</p>"
    number = _NUMBER.fullmatch(label or "")
    if has_word and not number:
        line = f"{escape(label or '')} {line}"
    return Item(item_level or 0, line, int(number[1]) if number else None)


def _line(runs: Sequence[tuple[str, tuple[str, ...], str]]) -> str:
    parts = []
    for link, linked in groupby(runs, key=lambda run: run[0]):
        inner = []
        for marks, group in groupby(linked, key=lambda run: run[1]):
            text = escape("".join(run for _, _, run in group)).replace("\n", "<br>")
            for mark in marks if text.strip() else ():
                text = f"<{mark}>{text}</{mark}>"
            inner.append(text)
        parts.append(f'<a href="{escape(link)}">{"".join(inner)}</a>' if link else "".join(inner))
    return "".join(parts)


def _blocks(pieces: Sequence[Item | str]) -> str:
    parts: list[str] = []
    for is_list, group in groupby(pieces, key=lambda piece: isinstance(piece, Item)):
        if is_list:
            parts.append(html_list([each for each in group if isinstance(each, Item)]))
        else:
            parts += [each for each in group if isinstance(each, str)]
    return "".join(parts)


def _merged(rows: Sequence[tuple[RowPlan, list[str]]]) -> list[list[TableCell]]:
    """The rows of a table, with what cells across columns or rows hold in the first of them."""
    edges = _edges(rows)
    made: list[list[TableCell]] = []
    above: dict[int, tuple[int, int]] = {}  # where the cell above a column is: its row, its place in it
    for plan, cells in rows:
        row: list[TableCell] = []
        reaching: dict[int, tuple[int, int]] = {}
        for html, place, column, width in _placed(plan, cells, edges):
            row += [TableCell("")] * (column if not row and not reaching else 0)
            if place is not None and place.continues_left and row and not html:
                row[-1] = row[-1]._replace(columns=row[-1].columns + width)
            elif place is not None and place.continues_above and column in above and not html:
                at, nth = reaching[column] = above[column]
                made[at][nth] = made[at][nth]._replace(rows=len(made) - at + 1)
            else:
                reaching[column] = (len(made), len(row))
                row.append(TableCell(html, columns=width))
        made.append(row)
        above = reaching
    return made


def _placed(
    plan: RowPlan, cells: Sequence[str], edges: Sequence[int]
) -> Iterator[tuple[str, CellPlace | None, int, int]]:
    """The cells of a row with their places, the first column of each and how many columns it covers."""
    column = bisect_left(edges, plan.left - _SAME_EDGE) if edges else 0
    for at, html in enumerate(cells):
        place = plan.cells[at] if at < len(plan.cells) else None
        end = bisect_left(edges, place.right - _SAME_EDGE) if edges and place is not None else column + 1
        width = max(1, end - column)
        yield html, place, column, width
        column += width


def _edges(rows: Sequence[tuple[RowPlan, list[str]]]) -> list[int]:
    """The edges of the columns that all rows share; none where the cells of each row are its columns."""
    if len({len(cells) for _, cells in rows}) == 1 or any(len(plan.cells) < len(cells) for plan, cells in rows):
        return []
    found = sorted({edge for plan, _ in rows for edge in (plan.left, *(cell.right for cell in plan.cells))})
    edges = found[:1] + [edge for before, edge in pairwise(found) if edge - before > _SAME_EDGE]
    return edges if len(edges) <= _MOST_COLUMNS + 1 else []
