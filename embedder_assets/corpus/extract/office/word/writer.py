"""The elements of a Word document as HTML, after ``rewriting`` (ECMA-376, part 1, 17)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.html_writer import Item, TableCell, html_list, html_table
from embedder_assets.corpus.extract.office.package import Relationship, whole_number
from embedder_assets.corpus.extract.office.word.numbering import Numbered, W
from embedder_assets.corpus.extract.office.word.styles import WordStyles
from embedder_assets.corpus.extract.office.word.symbols import symbol

_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_OFF = {"0", "false", "off", "none"}
_MOST_SKIPPED = 63  # columns of a table in Word
_USUAL_LABEL = re.compile(r"\d+[.)]?")
_LINK_FIELD = re.compile(r'\s*HYPERLINK\s+"([^"]*)"')
_OUTSIDE = ("http:", "https:", "mailto:")
_NOTES = {W + "footnoteReference": "footnotes", W + "endnoteReference": "endnotes"}
_MARKS = {W + "b": "strong", W + "i": "em", W + "strike": "s", W + "dstrike": "s"}
_RAISED = {"superscript": "sup", "subscript": "sub"}
_TEXTS = {
    W + "tab": "\t",
    W + "ptab": "\t",
    W + "br": "<br>",  # also one that ends a page: it ends a word
    W + "cr": "<br>",
    W + "noBreakHyphen": "\u2011",
}


@dataclass
class _Field:
    """A field that is being read: its instruction, until its result begins."""

    instruction: str = ""
    has_result: bool = False
    link: str = ""


class WordHtml:
    """Writes the parts of a document as HTML.

    Attributes:
        unknown_symbols: How many symbols of fonts it had no character for.
    """

    def __init__(self, styles: WordStyles, notes: Mapping[str, Mapping[str, Element]]) -> None:
        """Args: ``notes`` has for each kind of note their elements by id."""
        self.unknown_symbols = 0
        self._styles = styles
        self._notes = notes
        self._noted: list[Element] = []
        self._targets: Mapping[str, Relationship] = {}
        self._fields: list[_Field] = []

    def document(self, body: Element, targets: Mapping[str, Relationship]) -> str:
        """The body, and the notes that it refers to behind it."""
        self._targets = targets
        text = self._blocks(body)
        notes = []
        for note in self._noted:  # which grows where a note refers to another
            notes.append(f"<li>{self._blocks(note)}</li>")
        return f"{text}<ol>{''.join(notes)}</ol>" if notes else text

    def _blocks(self, parent: Element) -> str:
        parts: list[str] = []
        for kind, group in groupby(self._pieces(parent), key=lambda piece: type(piece[0])):
            pieces = list(group)
            if kind is Item:
                parts.append(html_list([item for item, _ in pieces if isinstance(item, Item)]))
            elif kind is _Code:
                parts.append(f"<pre>{chr(10).join(text for _, text in pieces)}</pre>")
            else:
                parts += [text for _, text in pieces]
        return "".join(parts)

    def _pieces(self, parent: Element) -> Iterator[tuple[Item | _Code | None, str]]:
        for element in parent:
            if element.tag == W + "p":
                yield self._paragraph(element)
            elif element.tag == W + "tbl":
                yield None, self._table(element)
            else:  # a content control, or what else lies around blocks
                yield from self._pieces(element)

    def _paragraph(self, paragraph: Element) -> tuple[Item | _Code | None, str]:
        numbered = self._styles.numbering.count(paragraph)
        style, level = _style_of(paragraph), self._heading_level(paragraph)
        line = self._line(paragraph)
        if not line.strip():
            return None, ""
        if level:
            label = f"{escape(numbered.label)} " if numbered and numbered.label else ""
            return None, f"<h{level}>{label}{line}</h{level}>"
        if style in self._styles.code:
            return _Code(), line.replace("<br>", "\n")
        return (None, f"<p>{line}</p>") if numbered is None else (_item(numbered, line), "")

    def _heading_level(self, paragraph: Element) -> int:
        own = paragraph.find(f"{W}pPr/{W}outlineLvl")
        number = (own.get(W + "val") or "") if own is not None else ""
        if number in set("012345678"):
            return min(int(number) + 1, 6)
        return self._styles.headings.get(_style_of(paragraph), 0)

    def _line(self, parent: Element) -> str:
        """The text inside a paragraph; runs with the same marks are one."""
        parts = []
        for marks, group in groupby(self._runs(parent), key=lambda run: run[0]):
            text = "".join(run for _, run in group)
            for mark in marks if text.strip() else ():
                text = f"<{mark}>{text}</{mark}>"
            parts.append(text)
        open_links = sum(1 for field in self._fields if field.link)
        self._fields = [replace(field, link="") for field in self._fields]
        return "".join(parts) + "</a>" * open_links

    def _runs(self, parent: Element) -> Iterator[tuple[tuple[str, ...], str]]:
        for element in parent:
            if element.tag == W + "r":
                text = "".join(self._run(element))
                if text:
                    yield self._marks(element), text
            elif element.tag == W + "hyperlink":
                target = self._targets.get(element.get(_R + "id") or "")
                text = self._line(element)
                outside = target is not None and target.target.startswith(_OUTSIDE)
                yield (), f'<a href="{escape(target.target)}">{text}</a>' if outside and target else text
            else:
                yield from self._runs(element)

    def _marks(self, run: Element) -> tuple[str, ...]:
        properties = run.find(W + "rPr")
        if properties is None:
            return ()
        marks = [
            mark
            for name, mark in _MARKS.items()
            if (each := properties.find(name)) is not None and each.get(W + "val") not in _OFF
        ]
        raised = properties.find(W + "vertAlign")
        mark = _RAISED.get(raised.get(W + "val") or "") if raised is not None else None
        return (mark, *marks) if mark else tuple(marks)

    def _run(self, parent: Element) -> Iterator[str]:
        for element in parent:
            if element.tag == W + "fldChar":
                yield self._field_mark(element.get(W + "fldCharType") or "")
            elif element.tag == W + "instrText":
                if self._fields:
                    self._fields[-1].instruction += element.text or ""
            elif all(field.has_result for field in self._fields):
                yield from self._shown(element)

    def _shown(self, element: Element) -> Iterator[str]:
        if element.tag == W + "t":
            yield escape(element.text or "")
        elif element.tag in _TEXTS:
            yield _TEXTS[element.tag]
        elif element.tag == W + "sym":
            found = symbol(element.get(W + "font") or "", element.get(W + "char") or "")
            self.unknown_symbols += not found
            yield escape(found)
        elif element.tag in _NOTES:
            note = self._notes[_NOTES[element.tag]].get(element.get(W + "id") or "")
            if note is not None:
                self._noted.append(note)
                yield f"[{len(self._noted)}]"
        else:
            yield from self._run(element)

    def _field_mark(self, kind: str) -> str:
        if kind == "begin":
            self._fields.append(_Field())
        elif self._fields and kind == "separate":
            field = self._fields[-1]
            field.has_result = True
            found = _LINK_FIELD.match(field.instruction)
            if found and found[1].startswith(_OUTSIDE):
                field.link = found[1]
                return f'<a href="{escape(field.link)}">'
        elif self._fields and kind == "end" and self._fields.pop().link:
            return "</a>"
        return ""

    def _table(self, table: Element) -> str:
        return html_table(_merged(table, self._blocks))


class _Code:
    """Says of a paragraph that it is a line of code."""


def _item(numbered: Numbered, line: str) -> Item:
    if numbered.label and _USUAL_LABEL.fullmatch(numbered.label):
        return Item(numbered.level, line, numbered.number)
    return Item(numbered.level, f"{escape(numbered.label)} {line}".lstrip())


def _style_of(paragraph: Element) -> str:
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    return (style.get(W + "val") or "") if style is not None else ""


def _merged(table: Element, blocks: Callable[[Element], str]) -> list[list[TableCell]]:
    """The rows of a table, with what the merged cells of a column hold in the first of them."""
    rows: list[list[TableCell]] = []
    above: dict[int, tuple[int, int]] = {}  # where the merged cell above a column begins: its row, its place in it
    for row in _inside(table, W + "tr"):
        cells = _skipped(row, "gridBefore")
        column = len(cells)
        reaching: dict[int, tuple[int, int]] = {}
        for cell in _inside(row, W + "tc"):
            merge, html = cell.find(f"{W}tcPr/{W}vMerge"), blocks(cell)
            width = _number(cell.find(f"{W}tcPr/{W}gridSpan"), 1)
            if merge is not None and merge.get(W + "val") != "restart" and column in above and not html:
                at, place = reaching[column] = above[column]
                rows[at][place] = rows[at][place]._replace(rows=len(rows) - at + 1)
            else:
                if merge is not None:
                    reaching[column] = (len(rows), len(cells))
                cells.append(TableCell(html, columns=width))
            column += width
        rows.append([*cells, *_skipped(row, "gridAfter")])
        above = reaching
    return rows


def _inside(parent: Element, name: str) -> Iterator[Element]:
    """The elements of a name below another, also inside content controls, but not inside each other."""
    for element in parent:
        if element.tag == name:
            yield element
        elif element.tag not in {W + "tbl", W + "p"}:
            yield from _inside(element, name)


def _skipped(row: Element, name: str) -> list[TableCell]:
    return [TableCell("")] * min(_number(row.find(f"{W}trPr/{W}{name}"), 0), _MOST_SKIPPED)


def _number(element: Element | None, otherwise: int) -> int:
    return whole_number(element.get(W + "val"), otherwise) if element is not None else otherwise
