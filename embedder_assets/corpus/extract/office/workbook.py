"""Excel workbooks (XLSX): the values that cells show, read as a stream.

The value of a formula is the one that Excel stored. What the format of a number means for its value (a date, a
percentage, a currency) is told by its code (ECMA-376, part 1, 18.8.30 and 18.8.31).
"""

from __future__ import annotations

import datetime
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.graphics import read_chart
from embedder_assets.corpus.extract.office.package import Package, omission, open_package, texts
from embedder_assets.corpus.extract.office.properties import core_properties
from embedder_assets.corpus.extract.office.sheets import Cell, Range, Sheet, sheets_markdown, title_of

_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_ESCAPE = re.compile(r"_x00([01][0-9A-F]|5F|7F)_", re.IGNORECASE)
# The codes that a file does not write out, by the number of the format (18.8.30).
_PERCENT_IDS, _CURRENCY_IDS = {9, 10}, {5, 6, 7, 8, 41, 42, 43, 44}
_BUILTIN = {
    **dict.fromkeys((14, 15, 16, 17, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 55, 56, 57, 58), "yyyy-mm-dd"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 45, 47), "hh:mm:ss"),
    **dict.fromkeys((9, 10), "0%"),
    22: "yyyy-mm-dd hh:mm",
    46: "[h]:mm:ss",
}
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_BRACKETS = re.compile(r"\[(?!h+\]|m+\]|s+\])[^\]]*\]", re.IGNORECASE)
_CURRENCY = re.compile(
    r'\[\$([^-\]]+)(?:-[^\]]*)?\]|"\s*([A-Z]{3}|[^\w\s])\s*"|([€£¥$₹])|[0#?]\s*"([^"]+)"'
)  # or another unit
_SIGNIFICANT = 15  # digits that Excel keeps; what a double has beyond them is noise
_WHOLE = 1e15  # below it, a whole number has no more digits
_SMALLEST, _LARGEST = Decimal("1e-9"), Decimal("1e21")  # of numbers that are written without an exponent
_NAMED = 5
_SECONDS = 86400


def extract_workbook(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn an Excel workbook into Markdown: a section per sheet with its tables.

    Raises:
        DocumentError: With kind ``unreadable_office``, ``encrypted_office``, ``too_large``, ``too_long``,
            ``too_deep`` or ``xml_entities``.
    """
    with open_package(data, thing, limits) as package:
        workbook = _Workbook(package, package.main_part(thing, ".xlsx"))
        text = sheets_markdown(workbook.sheets(), thing, limits)
        title, metadata = core_properties(package)
        return Extracted(text, title or title_of(workbook.names, thing), metadata, tuple(workbook.omissions()))


class _Workbook:
    """A package whose main part is a workbook.

    Attributes:
        names: Of the sheets that are shown, once they are read.
    """

    def __init__(self, package: Package, main: str) -> None:
        self._package = package
        self._main = main
        self._root = package.plain_xml(main)
        self._strings = self._shared_strings()
        self._formats = self._number_formats()
        properties = self._root.find("workbookPr")
        from_1904 = properties is not None and properties.get("date1904") in {"1", "true"}
        self._epoch = datetime.datetime(1904, 1, 1) if from_1904 else datetime.datetime(1899, 12, 30)
        self.names: list[str] = []
        self._hidden: list[str] = []
        self._valueless: list[str] = []
        self._errors: list[str] = []
        self._counts: Counter[str] = Counter()

    def sheets(self) -> Iterator[Sheet]:
        """The sheets that are shown, one after the other."""
        targets = self._package.relationships(self._main)
        for each in self._root.findall("./sheets/sheet"):
            name, relation = each.get("name", ""), targets.get(each.get("r:id", ""))
            if each.get("state", "visible") != "visible":
                self._hidden.append(name)
            elif relation is not None and relation.target in self._package.names:
                self.names.append(name)
                yield self._sheet(name, relation.target)

    def omissions(self) -> Iterator[Omission]:
        """What of the workbook is not in its text, once the sheets are read."""
        yield from omission("hidden sheet", self._hidden)
        yield from omission("formula without a value", self._valueless, "Open and save it in a spreadsheet program.")
        yield from omission("cell with an error", self._errors)
        for part, number in self._counts.items():
            yield Omission(part, number)
        yield from self._package.losses()

    def _shared_strings(self) -> list[str]:
        part = next(iter(self._package.related(self._main, "sharedStrings")), None)
        return [_rich_text(item) for item in self._package.plain_xml(part).iterfind("si")] if part else []

    def _number_formats(self) -> list[Callable[[float], Cell]]:
        """For each format of cells, what it makes of a number."""
        part = next(iter(self._package.related(self._main, "styles")), None)
        if part is None:
            return []
        root = self._package.plain_xml(part)
        codes = {each.get("numFmtId", ""): each.get("formatCode", "") for each in root.findall("./numFmts/numFmt")}
        return [self._format(each.get("numFmtId", "0"), codes) for each in root.findall("./cellXfs/xf")]

    def _format(self, number: str, codes: dict[str, str]) -> Callable[[float], Cell]:
        code = codes.get(number) or _BUILTIN.get(int(number) if number.isdigit() else 0, "")
        bare = _BRACKETS.sub("", _LITERAL.sub("", code.partition(";")[0])).lower()
        if "[" in bare:
            return lambda value: Cell(_elapsed(value), is_value=True)
        has_date, has_time = bool(re.search(r"[yd]|mmm", bare)), bool(re.search(r"[hs]", bare))
        if has_date or has_time or bare.strip() == "m":
            return lambda value: Cell(
                self._time(value, has_date=has_date or not has_time, has_time=has_time), is_value=True
            )
        if "%" in bare:
            return lambda value: Cell(f"{plain_number(value * 100)}%", is_value=True)
        currency = _CURRENCY.search(code.partition(";")[0])
        sign = next(filter(None, currency.groups()), "").strip() if currency else ""
        return lambda value: Cell(f"{plain_number(value)} {sign}".strip(), is_value=True)

    def _time(self, value: float, *, has_date: bool, has_time: bool) -> str:
        """A serial number of days as ISO 8601; the number itself where it is no date."""
        try:
            shift = 1 if has_date and 0 < value < 60 and self._epoch.year < 1900 else 0
            found = self._epoch + datetime.timedelta(days=int(value) + shift, seconds=round(value % 1 * _SECONDS))
        except (OverflowError, ValueError):
            return plain_number(value)
        if not has_date:
            return found.time().isoformat()
        return found.isoformat() if has_time else found.date().isoformat()

    def _sheet(self, name: str, part: str) -> Sheet:
        sheet = Sheet(name)
        row = -1
        stream = io.BytesIO(self._package.read(part))
        for _, element in ElementTree.iterparse(stream):
            if element.tag == _NS + "row":
                row = _index(element.get("r"), row)
                cells = self._cells(element, name, row)
                if cells:
                    sheet.rows.setdefault(row, {}).update(cells)
                element.clear()
            elif element.tag == _NS + "mergeCell" and (merged := _range(element.get("ref", ""))):
                sheet.merged.append(merged)
        self._counts["comment"] += sum(
            len(list(self._package.plain_xml(each).iter("comment"))) for each in self._package.related(part, "comments")
        )
        for drawing in self._package.related(part, "drawing"):
            sheet.notes += self._drawing(drawing)
        self._counts = +self._counts
        return sheet

    def _cells(self, row: Element, sheet: str, at: int) -> dict[int, Cell]:
        cells: dict[int, Cell] = {}
        column = -1
        for element in row.iterfind(_NS + "c"):
            match = _REFERENCE.fullmatch(element.get("r", ""))
            column = _column(match[1]) if match else column + 1
            cell = self._cell(element)
            if cell is None:
                if element.find(_NS + "f") is not None and element.get("t") != "str":
                    self._valueless.append(f"{sheet}!{element.get('r') or at + 1}")
                continue
            if element.get("t") == "e":
                self._errors.append(f"{sheet}!{element.get('r') or at + 1}: {cell.text}")
            cells[column] = cell
        return cells

    def _cell(self, element: Element) -> Cell | None:
        kind = element.get("t", "n")
        if kind == "inlineStr":
            inline = element.find(_NS + "is")
            text = "" if inline is None else _unescaped("".join(each.text or "" for each in inline.iter(_NS + "t")))
            return Cell(text) if text.strip() else None
        value = element.findtext(_NS + "v")
        if value is None or not value.strip():
            return None
        if kind == "n":
            return self._number(value, element.get("s"))
        if kind == "b":
            return Cell("TRUE" if value.strip() in {"1", "true"} else "FALSE", is_value=True)
        if kind == "d":
            return Cell(value.strip().removesuffix("T00:00:00"), is_value=True)
        text = self._strings[int(value)] if kind == "s" else _unescaped(value)
        return Cell(text) if text.strip() else None

    def _number(self, stored: str, style: str | None) -> Cell:
        try:
            value = float(stored)
        except ValueError:
            return Cell(stored)
        if style is not None and style.isdigit() and int(style) < len(self._formats):
            return self._formats[int(style)](value)
        return Cell(plain_number(value), is_value=True)

    def _drawing(self, part: str) -> Iterator[str]:
        """The texts in boxes and the titles of charts; what charts show is in cells."""
        root = self._package.plain_xml(part)
        for shape in root.iter("sp"):
            if text := texts(shape.iter("t")):
                yield text
        for chart in self._package.related(part, "chart"):
            if title := read_chart(self._package, chart).title:
                yield title
        for picture in root.iter("pic"):
            described = [each.get("descr") for each in picture.iter("cNvPr") if each.get("descr")]
            yield from filter(None, described)
            self._counts["image without description"] += not described


def plain_number(value: float) -> str:
    """A number as a spreadsheet shows it: without what is noise in its binary form, and without an exponent."""
    if abs(value) < _WHOLE and value == int(value):
        return str(int(value))
    number = Decimal(f"{value:.{_SIGNIFICANT}g}") if abs(value) < float("inf") else Decimal("NaN")
    if number.is_nan():
        return str(value)
    if number and not _SMALLEST <= abs(number) < _LARGEST:
        return f"{value:.{_SIGNIFICANT}g}"
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def _elapsed(days: float) -> str:
    """A length of time, in hours that may be more than a day has."""
    seconds = round(abs(days) * _SECONDS)
    return f"{'-' if days < 0 else ''}{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _rich_text(item: Element) -> str:
    """The text of a string, without the reading of its characters; what is raised in it has its mark."""
    parts = []
    for run in item:
        if run.tag == "t":
            parts.append(run.text or "")
        elif run.tag == "r":
            raised = run.find("./rPr/vertAlign")
            mark = "^" if raised is not None and raised.get("val") == "superscript" else ""
            parts.append(mark + (run.findtext("t") or ""))
    return _unescaped("".join(parts))


def _unescaped(text: str) -> str:
    """A string without the escapes of control characters, which become spaces, and of underscores (22.9.2.19)."""
    return _ESCAPE.sub(lambda found: "_" if found[1].lower() == "5f" else " ", text)


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _index(stated: str | None, last: int) -> int:
    return int(stated) - 1 if stated and stated.isdigit() else last + 1


def _range(reference: str) -> Range | None:
    corners = [_REFERENCE.fullmatch(corner) for corner in reference.split(":")]
    if len(corners) != 2 or None in corners:
        return None
    (left, top), (right, bottom) = ((_column(corner[1]), int(corner[2]) - 1) for corner in corners if corner)
    return top, left, bottom, right
