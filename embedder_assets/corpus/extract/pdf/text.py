"""From the lines of the pages to one text: headings, paragraphs, words that were broken, and where each page begins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from embedder_assets.corpus.extract.pdf.hyphens import Hyphens, is_broken
from embedder_assets.corpus.extract.pdf.line import BULLETS, HYPHEN_AT_LINE_END, Line

_LOOKS_LIKE_MARKDOWN = re.compile(r"^(?=#{1,6}(?:\s|$)|=+\s*$|-+\s*$|```|~~~)")
_BULLET = re.compile(rf"^[{BULLETS}]\s+")
# Where a narrow space after a quotation was taken for none.
_AFTER_QUOTATION = re.compile("(\u201c[^\u201c\u201d]+\u201d|\u2018[^\u2018\u2019\\s]+\u2019)(?=[^\\W_]{2})")
_DOT_LEADERS = re.compile(r"(?: ?\.){5,}")
_WIDE_PITCH = 1.35  # between two paragraphs, of the usual distance of two lines of the page
_WIDE_LEADING = 1.5  # and in font sizes
_GOES_ON = re.compile(r"[^\s.!?:;\u2026]$")


@dataclass(frozen=True)
class _Piece:
    """A line or a heading of a page; ``after_gap`` where it begins a paragraph."""

    page: int
    text: str
    level: int
    after_gap: bool


def text_of(pages: Sequence[Sequence[Line]], levels: Sequence[Sequence[tuple[int, int]]]) -> tuple[str, list[int]]:
    """The text of a document as Markdown, and the offset of each page in it.

    Args:
        pages: The lines of each page.
        levels: For each page the level of the heading that begins at a line, 0 for none, and how many lines it takes.
    """
    hyphens = Hyphens(line.text for lines in pages for line in lines)
    pieces = [piece for number, lines in enumerate(pages) for piece in _pieces(number, lines, levels[number], hyphens)]
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    before: _Piece | None = None
    for piece in pieces:
        between = _between(hyphens, before, piece)
        text = _text(before, between)
        parts += [text, between]
        length += len(text) + len(between)
        # A page without text begins where the next one does.
        starts += [length] * (piece.page + 1 - len(starts))
        before = _written(piece, at_line_start=between.endswith("\n") or before is None)
    last = _text(before, "\n")
    text = "".join([*parts, last, "\n"])
    return text, starts + [len(text)] * (len(pages) - len(starts))


def _pieces(page: int, lines: Sequence[Line], levels: Sequence[tuple[int, int]], hyphens: Hyphens) -> Iterator[_Piece]:
    usual = _usual_pitch(lines)
    number = 0
    for level, count in levels:
        text = _tidy(lines[number].text)
        for line in lines[number + 1 : number + count]:
            following = _tidy(line.text)
            joint = hyphens.joint(text, following).replace("\n", " ") if is_broken(text) else " "
            text = (text[:-1] if is_broken(text) else text) + joint + following
        if text:
            gap = number > 0 and _is_gap(lines[number - 1], lines[number], usual)
            yield _Piece(page, text, level, gap)
        number += count


def _tidy(text: str) -> str:
    text = _BULLET.sub("- ", text.strip())
    return _DOT_LEADERS.sub(" ...", _AFTER_QUOTATION.sub(r"\1 ", text))


def _usual_pitch(lines: Sequence[Line]) -> float:
    steps = [above.base - line.base for above, line in pairwise(lines)]
    down = [step for step in steps if step > 0]
    return median(down) if down else 0.0


def _is_gap(above: Line, line: Line, usual: float) -> bool:
    step = above.base - line.base
    return step > _WIDE_PITCH * usual and step > _WIDE_LEADING * max(line.size, above.size)


def _between(hyphens: Hyphens, before: _Piece | None, piece: _Piece) -> str:
    if before is None:
        return ""
    if before.level or piece.level or piece.after_gap:
        return "\n\n"
    if is_broken(before.text):
        return hyphens.joint(before.text, piece.text)
    return "\n\n" if piece.page > before.page and not _is_one_sentence(before.text, piece.text) else "\n"


def _is_one_sentence(before: str, after: str) -> bool:
    return bool(_GOES_ON.search(before)) and after[:1].islower()


def _text(piece: _Piece | None, between: str) -> str:
    """A piece in front of what follows: its last hyphen is in ``between`` where a word goes on."""
    if piece is None:
        return ""
    text = piece.text
    if is_broken(text):
        text = text[:-1] + ("-" if between.startswith("\n") else "")
    return text.replace(HYPHEN_AT_LINE_END, "-")


def _written(piece: _Piece, *, at_line_start: bool) -> _Piece:
    if piece.level:
        text = f"{'#' * piece.level} {piece.text}"
    else:
        text = _LOOKS_LIKE_MARKDOWN.sub(r"\\", piece.text) if at_line_start else piece.text
    return replace(piece, text=text)
