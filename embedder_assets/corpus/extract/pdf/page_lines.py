"""The lines of one page with their place, from the characters of pdfium.

pdfium gives the characters in the order in which they were drawn, with a line end where the next one stands lower. Here
what stands on one line becomes one line again, raised digits are marked, two columns that were drawn across the page
are put in order, and characters that no one can read are left out.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from pypdfium2 import raw

if TYPE_CHECKING:
    from pypdfium2 import PdfTextPage

HYPHEN_AT_LINE_END = "\ufffe"  # pdfium's sign for a hyphen after which a word goes on

UNREADABLE = "\ufffd"

_PRINTED_LINE = re.compile("[^\r\n\ufffe]+\ufffe?")
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd\uffff\ue000-\uf8ff]")
# A word that lacks letters is another word.
_DAMAGED_WORD = re.compile(r"[^\s\ufffe]*\ufffd[^\s\ufffe]*")
_WORD_START = re.compile(r"(?<!\S)\S")
_MAYBE_RAISED = re.compile(r"(?<=\S)[-\u2212+]?\d+")
_BULLET = re.compile("[\u00b7\u2022\u25aa\u25cf\u25a0\u25e6\u2023\u27a4\u2043\u25ab\u25cb\uf0b7\uf0a7\u2013-]")
# Bullets and ticks of the fonts Symbol and Wingdings, which have a private place in Unicode.
_SYMBOLS = {0xF0B7: "\u2022", 0xF0A7: "\u25aa", 0xF06C: "\u25cf", 0xF06E: "\u25a0", 0xF0D8: "\u27a4", 0xF0FC: "\u2713"}
_SYMBOLS |= {0xF020: " ", 0xF02D: "-", 0xF0A8: "\u25fb", 0xF0FE: "\u2611", 0xF06F: "\u25a1", 0xF0E0: "\u2192"}
_LIGATURES = {0xFB00 + n: text for n, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}
_HYPHENS = {0x2010: "-", 0x2011: "-", 0xAD: ""}
_PLAIN = {**_SYMBOLS, **_LIGATURES, **_HYPHENS}

_FAR_OFF = 1e6  # points
_WIDE_GAP = 1.5  # between two cells, in font sizes
_SAME_LINE = 0.35  # what the baselines of one line differ by at most, in font sizes
_BULLET_GAP = 4  # between a bullet and its item, in font sizes
_MOST_BULLETS = 200  # of a page: each is looked for in all its lines
_SPACE_WIDTH = 0.15  # at least, in font sizes
_RAISED = 0.2  # how much higher a superscript stands at least, in font sizes
_SMALLER = 0.9  # how large it is at most, of what it follows
_COLUMN_LEADING = 2.5  # between two lines of columns at most, in font sizes
_LEAST_ROWS, _LEAST_WORDS, _LEAST_FILL = 5, 3, 0.6  # of columns: less is a table


@dataclass(frozen=True)
class Line:
    """One printed line, or a cell of it: text, box in points from the lower left corner, and font size in points.

    ``upright`` is false for rotated text, whose box says nothing about its order. ``cells`` are the parts of a line
    that a wide gap separates; empty for one part.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    base: float
    size: float
    upright: bool = True
    cells: tuple[Line, ...] = ()

    @property
    def parts(self) -> tuple[Line, ...]:
        """The cells, or the line itself where it has none."""
        return self.cells or (self,)


@dataclass(frozen=True)
class PageLines:
    """The lines of a page in reading order, its height, and the fonts whose characters could not be read."""

    lines: list[Line]
    height: float
    unreadable: set[str] = field(default_factory=set)


def page_lines(textpage: PdfTextPage, height: float) -> PageLines:
    """Read the lines of a page."""
    reader = _Reader(textpage)
    lines = _bullets_beside(_on_one_line(list(reader.lines())))
    return PageLines(_columns_apart(lines), height, reader.fonts)


def line_of(parts: list[Line]) -> Line:
    """One line of several cells, from left to right."""
    parts = sorted(parts, key=lambda part: part.left)
    longest = max(parts, key=lambda part: len(part.text))
    box = (
        min(p.left for p in parts),
        min(p.bottom for p in parts),
        max(p.right for p in parts),
        max(p.top for p in parts),
    )
    text = " ".join(part.text.strip() for part in parts)
    return Line(text, *box, longest.base, longest.size, longest.upright, tuple(parts) if len(parts) > 1 else ())


def within_reach(points: float) -> float:
    """A coordinate, or 0 for one that is no number or far off every page: a file may say anything."""
    return points if abs(points) < _FAR_OFF else 0.0


class _Style(NamedTuple):
    """Of a printed line: font size in points, whether it stands upright, positions of raised digits."""

    size: float
    upright: bool
    raised: set[int]


class _Reader:
    """Reads the text page of pdfium; positions in the text are UTF-16 units, as pdfium counts them."""

    def __init__(self, textpage: PdfTextPage) -> None:
        self._page = textpage.raw
        text = textpage.get_text_range(errors="surrogatepass")
        if max(text, default="") > "\uffff":
            text = "".join(map(chr, memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")))
        self._text = text
        self.fonts: set[str] = set()
        count = textpage.count_chars()
        # Else pdfium left some characters out of the text, and positions are no longer those of the characters.
        self._is_whole = count == len(text)
        self._mark_unreadable(count)

    def lines(self) -> Iterator[Line]:
        for found in _PRINTED_LINE.finditer(self._text):
            start, end = found.span()
            if found[0].strip() and (line := self._line(start, end)):
                yield line

    def _line(self, start: int, end: int) -> Line | None:
        rects = self._rects(start, end)
        size, upright = self._size(self._index(self._middle(start, end)))
        raised = self._raised(start, end, size) if upright and len(rects) > 1 else set()
        style = _Style(size, upright, raised)
        if not upright or not any(after[0] - rect[2] > _WIDE_GAP * size for rect, after in pairwise(rects)):
            return self._part(start, end, style)
        cuts = [start, *self._gaps(start, end, size), end]
        parts = [part for begin, stop in pairwise(cuts) if (part := self._part(begin, stop, style))]
        return line_of(parts) if parts else None

    def _part(self, start: int, end: int, style: _Style) -> Line | None:
        text = self._clean(start, end, style.raised)
        if not text.strip():
            return None
        lefts, bottoms, rights, tops = zip(*(self._rects(start, end) or [(0.0,) * 4]), strict=True)
        base = within_reach(self._origin(self._index(self._middle(start, end)))[1])
        return Line(text, min(lefts), min(bottoms), max(rights), max(tops), base, style.size, style.upright)

    def _clean(self, start: int, end: int, raised: set[int]) -> str:
        kept = self._text[start:end]
        if raised:
            kept = "".join(("^" if n in raised else "") + self._text[n] for n in range(start, end))
        if max(kept) >= "\ud800":
            kept = kept.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
        return _DAMAGED_WORD.sub("", kept).translate(_PLAIN)

    def _mark_unreadable(self, count: int) -> None:
        """Replaces characters that no one can read by U+FFFD: the font does not say what they are.

        pdfium gives the number of the glyph as if it were a letter, or nothing. The first character of each word is
        asked, because a call for every one would cost as much as all the rest.
        """
        marked = {found.start() for found in _UNREADABLE.finditer(self._text)}
        starts = (self._index(found.start()) for found in _WORD_START.finditer(self._text))
        if not self._is_whole or any(self._is_unmapped(index) for index in starts):
            for index in range(count):
                if self._is_unmapped(index):
                    marked.update(self._near(index))
        marked = {n for n in marked if ord(self._text[n]) not in _SYMBOLS}
        if marked:
            self.fonts = {self._font(self._index(position)) for position in marked}
            self._text = "".join(UNREADABLE if n in marked else letter for n, letter in enumerate(self._text))

    def _near(self, index: int) -> Iterator[int]:
        """The position of a character in the text, or those beside it where pdfium leaves it out."""
        here = raw.FPDFText_GetTextIndexFromCharIndex(self._page, index)
        beside = [raw.FPDFText_GetTextIndexFromCharIndex(self._page, index + step) for step in (-1, 1)]
        for position in [here] if here >= 0 else beside:
            if 0 <= position < len(self._text) and (here >= 0 or not self._text[position].isspace()):
                yield position

    def _is_unmapped(self, index: int) -> bool:
        return bool(raw.FPDFText_HasUnicodeMapError(self._page, index) == 1)

    def _middle(self, start: int, end: int) -> int:
        middle = (start + end) // 2
        return next((n for n in range(middle, end) if not self._text[n].isspace()), start)

    def _index(self, position: int) -> int:
        if self._is_whole:
            return position
        index: int = raw.FPDFText_GetCharIndexFromTextIndex(self._page, position)
        return max(index, 0)

    def _rects(self, start: int, end: int) -> list[tuple[float, ...]]:
        """Left, bottom, right and top of what was drawn at once."""
        first, last = self._index(start), self._index(end - 1)
        left, top, right, bottom = (ctypes.c_double() for _ in range(4))
        found: list[tuple[float, ...]] = []
        for number in range(raw.FPDFText_CountRects(self._page, first, last - first + 1)):
            raw.FPDFText_GetRect(self._page, number, left, top, right, bottom)
            found.append(tuple(within_reach(each.value) for each in (left, bottom, right, top)))
        return found

    def _size(self, index: int) -> tuple[float, bool]:
        """The font size as drawn, and whether the text stands upright."""
        matrix = raw.FS_MATRIX()
        raw.FPDFText_GetMatrix(self._page, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        size = within_reach(raw.FPDFText_GetFontSize(self._page, index) * scale)
        return max(size, 1.0), abs(matrix.b) < abs(matrix.a)

    def _origin(self, index: int) -> tuple[float, float]:
        x, y = ctypes.c_double(), ctypes.c_double()
        raw.FPDFText_GetCharOrigin(self._page, index, x, y)
        return x.value, y.value

    def _raised(self, start: int, end: int, size: float) -> set[int]:
        """Where a smaller digit stands higher than what it follows: 10 to the 6th would read as 106."""
        found = set()
        for match in _MAYBE_RAISED.finditer(self._text, start, end):
            for position in range(match.start(), match.end()):
                before, index = self._index(position - 1), self._index(position)
                higher = self._origin(index)[1] - self._origin(before)[1]
                if higher > _RAISED * size and self._size(index)[0] < _SMALLER * self._size(before)[0]:
                    found.add(position)
        return found

    def _gaps(self, start: int, end: int, size: float) -> Iterator[int]:
        """Where a cell begins: after a space that is wide."""
        for position in range(start + 1, end - 1):
            if self._text[position].isspace() and not self._text[position + 1].isspace():
                before = position - 1
                while before > start and self._text[before].isspace():
                    before -= 1
                if self._box(self._index(position + 1))[0] - self._box(self._index(before))[2] > _WIDE_GAP * size:
                    yield position + 1

    def _box(self, index: int) -> tuple[float, float, float, float]:
        box = raw.FS_RECTF()
        raw.FPDFText_GetLooseCharBox(self._page, index, box)
        return box.left, box.bottom, box.right, box.top

    def _font(self, index: int) -> str:
        length = raw.FPDFText_GetFontInfo(self._page, index, None, 0, None)
        buffer = ctypes.create_string_buffer(length)
        raw.FPDFText_GetFontInfo(self._page, index, buffer, length, None)
        return buffer.value.decode("utf-8", "replace")


def _on_one_line(lines: list[Line]) -> list[Line]:
    """Put together what pdfium took apart although it stands on one line, as it does after a superscript."""
    joined: list[Line] = []
    for line in lines:
        before = joined[-1] if joined else None
        if before and _continues(before, line):
            joined[-1] = _joined(before, line)
        else:
            joined.append(line)
    return joined


def _continues(before: Line, line: Line) -> bool:
    return (
        before.upright
        and line.upright
        and abs(before.base - line.base) < _SAME_LINE * min(before.size, line.size)
        and line.left > before.right - 0.5 * line.size
        and not before.text.endswith(HYPHEN_AT_LINE_END)
    )


def _joined(before: Line, line: Line) -> Line:
    last, first = before.parts[-1], line.parts[0]
    if first.left - last.right > _WIDE_GAP * line.size:
        return line_of([*before.parts, *line.parts])
    space = "" if first.left - last.right < _SPACE_WIDTH * line.size or first.text[:1] == " " else " "
    both = replace(line_of([last, first]), text=f"{last.text}{space}{first.text}", cells=())
    return line_of([*before.parts[:-1], both, *line.parts[1:]])


def _bullets_beside(lines: list[Line]) -> list[Line]:
    """Put bullets that were drawn apart from their items in front of them."""
    bullets = [line for line in lines if _BULLET.fullmatch(line.text.strip()) and line.upright]
    for bullet in bullets[:_MOST_BULLETS]:
        beside = [
            (line.left, number)
            for number, line in enumerate(lines)
            if 0 < line.left - bullet.right < _BULLET_GAP * line.size and _is_beside(bullet, line)
        ]
        if beside:
            number = min(beside)[1]
            item = lines[number]
            joined = replace(line_of([bullet, item]), text=f"{bullet.text.strip()} {item.text}", cells=())
            lines = [line for line in [*lines[:number], joined, *lines[number + 1 :]] if line is not bullet]
    return lines


def _is_beside(bullet: Line, line: Line) -> bool:
    return line.upright and abs(bullet.base - line.base) < _SAME_LINE * line.size


def _columns_apart(lines: list[Line]) -> list[Line]:
    """Read columns that were drawn line by line across the page one after the other; tables stay in rows."""
    ordered: list[Line] = []
    run: list[Line] = []
    gutter = (-math.inf, math.inf)
    for line in lines:
        narrowed = _gutter(line, gutter)
        if narrowed and run and run[-1].base - line.base < _COLUMN_LEADING * line.size:
            gutter = narrowed
            run.append(line)
            continue
        ordered += _by_column(run, gutter)
        gutter = _gutter(line, (-math.inf, math.inf)) or (-math.inf, math.inf)
        run = [line] if len(line.cells) == 2 else []
        ordered += [] if run else [line]
    return ordered + _by_column(run, gutter)


def _gutter(line: Line, gutter: tuple[float, float]) -> tuple[float, float] | None:
    """What of the gutter between two columns a line leaves free; none if it goes across."""
    if not line.upright or len(line.cells) > 2:
        return None
    if len(line.cells) == 2:
        free = max(gutter[0], line.cells[0].right), min(gutter[1], line.cells[1].left)
    elif line.right < gutter[1]:
        free = max(gutter[0], line.right), gutter[1]
    else:
        free = gutter[0], min(gutter[1], line.left)
    return free if free[1] - free[0] > 0.5 * line.size else None


def _by_column(run: list[Line], gutter: tuple[float, float]) -> list[Line]:
    cells = [part for line in run for part in line.parts]
    columns = [
        [part for part in cells if part.left < gutter[0]],
        [part for part in cells if part.left >= gutter[0]],
    ]
    pairs = sum(len(line.cells) == 2 for line in run)
    return [*columns[0], *columns[1]] if pairs >= _LEAST_ROWS and all(map(_flows, columns)) else run


def _flows(column: list[Line]) -> bool:
    """Whether the lines are those of running text: several words each, most of them as long as the column is wide."""
    widths = [part.right - part.left for part in column]
    words = [len(part.text.split()) for part in column]
    return median(words) >= _LEAST_WORDS and median(widths) >= _LEAST_FILL * max(widths)
