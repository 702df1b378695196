"""Headings of a PDF: lines that its bookmarks name, or those in larger letters where it has no bookmarks."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedder_assets.corpus.extract.pdf.line import Line

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

Bookmarks = dict[int, dict[str, int]]
"""For each page the titles of the bookmarks that point to it, with their level (outermost: 1)."""

_MOST_LINES = 3  # of one heading
_LEADING = 1.6  # of a heading of several lines, in font sizes
_LARGER = 1.15  # than the text
_LONGEST = 150
_MOST_LEVELS = 4
_MOST_SHARE = 0.25  # of all text: more than that is no headings
_LETTERS = re.compile(r"[^\W\d_]{2}")


def bookmarks(pdf: PdfDocument) -> Bookmarks:
    """The bookmarks of a document by page."""
    found: Bookmarks = defaultdict(dict)
    for bookmark in pdf.get_toc(max_depth=6):
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        if page is not None:
            found[page].setdefault(_normal(bookmark.get_title()), min(bookmark.level + 1, 6))
    return found


def heading_levels(pages: Sequence[Sequence[Line]], titles: Bookmarks) -> list[list[tuple[int, int]]]:
    """For each page (level, number of lines) by line; level 0 and one line where it is none."""
    named = [_by_title(lines, titles.get(number, {})) for number, lines in enumerate(pages)]
    if any(level for page in named for level, _ in page):
        return named
    return _by_size(pages)


def _by_title(lines: Sequence[Line], titles: dict[str, int]) -> list[tuple[int, int]]:
    open_titles = dict(titles)
    found, number = [], 0
    while number < len(lines):
        level, count = 0, 1
        first = _normal(lines[number].text) if open_titles else ""
        possible = first and any(title.startswith(first) for title in open_titles)
        for several in range(1, _MOST_LINES + 1) if possible else ():
            text = _normal(" ".join(line.text for line in lines[number : number + several]))
            if text in open_titles and text.startswith(first):
                level, count = open_titles.pop(text), min(several, len(lines) - number)
                break
        found.append((level, count))
        number += count
    return found


def _by_size(pages: Sequence[Sequence[Line]]) -> list[list[tuple[int, int]]]:
    sizes: Counter[float] = Counter()
    for line in (line for lines in pages for line in lines):
        sizes[_rounded(line)] += len(line.text)
    usual = sizes.most_common(1)[0][0] if sizes else 0.0
    larger = sorted((size for size in sizes if size > _LARGER * usual), reverse=True)
    if sum(sizes[size] for size in larger) > _MOST_SHARE * sizes.total():
        larger = []
    levels = {size: min(level, _MOST_LEVELS) for level, size in enumerate(larger, start=1)}
    return [_runs_of_size(lines, levels) for lines in pages]


def _runs_of_size(lines: Sequence[Line], levels: dict[float, int]) -> list[tuple[int, int]]:
    found, number = [], 0
    while number < len(lines):
        level, count = levels.get(_rounded(lines[number]), 0), 1
        if level:
            while number + count < len(lines) and _goes_on(*lines[number + count - 1 : number + count + 1]):
                count += 1
            text = " ".join(line.text for line in lines[number : number + count])
            if count > _MOST_LINES or len(text) > _LONGEST or not _LETTERS.search(text) or not lines[number].upright:
                level, count = 0, 1
        found.append((level, count))
        number += count
    return found


def _goes_on(line: Line, following: Line) -> bool:
    """Whether a heading goes on in the next line."""
    step = line.base - following.base
    return _rounded(line) == _rounded(following) and 0 < step < _LEADING * line.size


def _rounded(line: Line) -> float:
    return round(2 * line.size) / 2


def _normal(title: str) -> str:
    return re.sub(r"^(?:\d+\.?)+\s", "", " ".join(title.split())).casefold()
