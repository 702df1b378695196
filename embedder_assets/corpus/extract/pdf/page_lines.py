"""The lines of one page with their place, from the characters of pdfium.

pdfium gives the characters in the order in which they were drawn, with a line end where the next one stands lower. Here
they get their places, raised digits are marked, and characters that no one can read are left out.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pypdfium2 import raw

from embedder_assets.corpus.extract.pdf.line import WIDE_GAP, Line, PageLines, line_of, within_reach
from embedder_assets.corpus.extract.pdf.reading_order import in_reading_order

if TYPE_CHECKING:
    from pypdfium2 import PdfTextPage

_PRINTED_LINE = re.compile("[^\r\n\ufffe]+\ufffe?")
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd\uffff\ue000-\uf8ff]")
# A word that lacks letters is another word.
_DAMAGED_WORD = re.compile(r"[^\s\ufffe]*\ufffd[^\s\ufffe]*")
_LOST = "\ufffd"
_WORD_START = re.compile(r"(?<!\S)\S")
_MAYBE_RAISED = re.compile(r"(?<=\S)[-\u2212+]?\d+")
# Bullets and ticks of the fonts Symbol and Wingdings, which have a private place in Unicode.
_SYMBOLS = {0xF0B7: "\u2022", 0xF0A7: "\u25aa", 0xF06C: "\u25cf", 0xF06E: "\u25a0", 0xF0D8: "\u27a4", 0xF0FC: "\u2713"}
_SYMBOLS |= {0xF020: " ", 0xF02D: "-", 0xF0A8: "\u25fb", 0xF0FE: "\u2611", 0xF06F: "\u25a1", 0xF0E0: "\u2192"}
_LIGATURES = {0xFB00 + n: text for n, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}
_HYPHENS = {0x2010: "-", 0x2011: "-", 0xAD: ""}
_PLAIN = {**_SYMBOLS, **_LIGATURES, **_HYPHENS}

_RAISED = 0.2  # how much higher a superscript stands at least, in font sizes
_SMALLER = 0.9  # how large it is at most, of what it follows


def page_lines(textpage: PdfTextPage, height: float) -> PageLines:
    """Read the lines of a page."""
    reader = _Reader(textpage)
    return PageLines(in_reading_order(list(reader.lines())), height, reader.fonts)


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
        if not upright or not any(after[0] - rect[2] > WIDE_GAP * size for rect, after in pairwise(rects)):
            return self._part(start, end, style, rects)
        cuts = [start, *self._gaps(start, end, size), end]
        found = (self._part(begin, stop, style, self._rects(begin, stop)) for begin, stop in pairwise(cuts))
        parts = [part for part in found if part]
        return line_of(parts) if parts else None

    def _part(self, start: int, end: int, style: _Style, rects: list[tuple[float, ...]]) -> Line | None:
        text = self._clean(start, end, style.raised)
        if not text.strip():
            return None
        lefts, bottoms, rights, tops = zip(*(rects or [(0.0,) * 4]), strict=True)
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
            self._text = "".join(_LOST if n in marked else letter for n, letter in enumerate(self._text))

    def _near(self, index: int) -> Iterator[int]:
        """The position of a character in the text, or those next to it where pdfium leaves it out."""
        here = raw.FPDFText_GetTextIndexFromCharIndex(self._page, index)
        neighbours = [raw.FPDFText_GetTextIndexFromCharIndex(self._page, index + step) for step in (-1, 1)]
        for position in [here] if here >= 0 else neighbours:
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
                if self._box(self._index(position + 1))[0] - self._box(self._index(before))[2] > WIDE_GAP * size:
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
