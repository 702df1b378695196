"""The sheets of an OpenDocument spreadsheet (ODS): the values of cells, as they are shown or in ISO 8601."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.package import whole_number
from embedder_assets.corpus.extract.office.sheets import Cell, Sheet, refuse_many_cells
from embedder_assets.corpus.extract.office.workbook import plain_number

_ERROR = re.compile(r"#(?:REF!|NAME\?|VALUE!|DIV/0!|N/A|NULL!|NUM!)|(?:Err|Fehler|Erreur):\d{3}")
_DURATION = re.compile(r"(-?)PT(\d+)H(\d+)M([\d.]+)S")
# Types of values, and what the name of the attribute with the value begins with.
_VALUES = {"date": "date-", "time": "time-", "boolean": "boolean-", "float": "", "percentage": "", "currency": ""}


class SheetReader:
    """Reads the sheets of a file.

    Attributes:
        errors: The cells with an error, so far.
    """

    def __init__(self, thing: str) -> None:
        self.errors: list[str] = []
        self._thing = thing
        self._count = 0

    def read(self, table: Element) -> Sheet:
        """A sheet.

        Raises:
            DocumentError: With kind ``too_large``: cells that repeat each other make millions.
        """
        sheet = Sheet(table.get("name", ""))
        self._rows(table, sheet, 0)
        sheet.notes += (text for box in table.iter("text-box") if (text := " ".join("".join(box.itertext()).split())))
        return sheet

    def _rows(self, parent: Element, sheet: Sheet, at: int) -> int:
        """Reads the rows below an element from the row ``at`` on; the number of the row behind them."""
        for child in parent:
            if child.tag in {"table-header-rows", "table-rows", "table-row-group"}:
                at = self._rows(child, sheet, at)
            elif child.tag == "table-row":
                times = whole_number(child.get("number-rows-repeated"), 1)
                cells = self._cells(child, sheet, at)
                if cells:
                    self._add(len(cells) * (times - 1), sheet)
                    sheet.rows |= {at + number: dict(cells) for number in range(times)}
                at += times
        return at

    def _cells(self, row: Element, sheet: Sheet, at: int) -> dict[int, Cell]:
        cells: dict[int, Cell] = {}
        column = 0
        for element in row:
            if element.tag not in {"table-cell", "covered-table-cell"}:
                continue
            times = whole_number(element.get("number-columns-repeated"), 1)
            cell = _cell(element) if element.tag == "table-cell" else None
            if cell is not None:
                self._add(times, sheet)
                cells |= dict.fromkeys(range(column, column + times), cell)
                if _ERROR.fullmatch(cell.text):
                    self.errors.append(f"{sheet.name}, row {at + 1}: {cell.text}")
                height, width = (whole_number(element.get(f"number-{side}-spanned"), 1) for side in ("rows", "columns"))
                if height > 1 or width > 1:
                    sheet.merged.append((at, column, at + height - 1, column + width - 1))
            column += times
        return cells

    def _add(self, count: int, sheet: Sheet) -> None:
        self._count += count
        refuse_many_cells(self._count, sheet.name, self._thing)


def _cell(element: Element) -> Cell | None:
    shown = "\n".join("".join(_shown(line)) for line in element.iterfind("p")).strip()
    kind = element.get("value-type", "")
    text = _value(element, kind, shown) if kind in _VALUES else shown
    return Cell(text, is_value=kind in _VALUES) if text else None


def _value(element: Element, kind: str, shown: str) -> str:
    stated = element.get(f"{_VALUES[kind]}value", "")
    if kind == "date":
        return stated.removesuffix("T00:00:00") or shown
    if kind == "time":
        return _DURATION.sub(_clock, stated) or shown
    if kind == "boolean":
        return (stated or shown).upper()
    try:
        number = float(stated)
    except ValueError:
        return shown
    if kind == "percentage":
        return f"{plain_number(number * 100)}%"
    return f"{plain_number(number)} {element.get('currency', '')}".strip()


def _shown(line: Element) -> list[str]:
    parts = [line.text or ""]
    for child in line:
        parts += [" " if child.tag in {"s", "tab", "line-break"} else "".join(_shown(child)), child.tail or ""]
    return parts


def _clock(found: re.Match[str]) -> str:
    sign, hours, minutes, seconds = found.groups()
    return f"{sign}{hours}:{minutes}:{int(float(seconds)):02d}"
