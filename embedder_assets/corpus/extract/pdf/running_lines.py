"""Running heads and feet: lines that are the same at the same place of most pages, and page numbers.

Only the outermost lines of a page can be one. A number that grows by one with the page is a page number where nothing
but words for "page", a count of all pages, or a line of its own goes with it: "Question 3" on the third page stays.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from embedder_assets.corpus.extract.pdf.line import Line, PageLines
from embedder_assets.corpus.extract.roman_numerals import from_roman

_MIN_PAGES = 5
_MOST_LINES = 3  # of a head, or of a foot
_MARGIN = 0.15  # of the height of a page: where a line that says more than a number can be furniture
_SAME_PLACE = 3.0  # points
_LARGER_THAN_TEXT = 1.15
_PAGE_WORDS = (
    "page|pages|pag|pg|p|seite|seiten|s|sivu|side|sida|strona|str|página|pág|pagina|folio|стр|страница|页|頁|第"
)
_OF = "of|von|de|di|av|af|sur|van|z|из|共"
_NUMBER = re.compile(r"\d+|(?<![^\W_])[ivxlcdm]+(?![^\W_])", re.IGNORECASE)
_PAGE_NUMBER = re.compile(
    rf"[\W_]*(?:(?:{_PAGE_WORDS})\b\.?)?[\W_]*\0[\W_]*(?:(?:{_PAGE_WORDS})\b)?[\W_]*"
    rf"(?:(?:{_OF})?[\W_]*\d+[\W_]*(?:{_PAGE_WORDS})?[\W_]*)?",
    re.IGNORECASE,
)


def without_running_lines(pages: Sequence[PageLines]) -> list[list[Line]]:
    """The lines of each page but for running heads and feet; a short document keeps them."""
    kept = [list(page.lines) for page in pages]
    if len(pages) < _MIN_PAGES:
        return kept
    usual = _usual_size(pages)
    for is_head in (True, False):
        for _ in range(_MOST_LINES):
            outermost = [_outermost(lines, is_head) for lines in kept]
            furniture = _furniture(outermost, pages, usual)
            if not furniture:
                break
            for number in furniture:
                kept[number] = [line for line in kept[number] if line is not outermost[number]]
    return kept


def _usual_size(pages: Sequence[PageLines]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[round(line.size, 1)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _outermost(lines: list[Line], is_head: bool) -> Line | None:
    upright = [line for line in lines if line.upright]
    if not upright:
        return None
    return max(upright, key=lambda line: line.base) if is_head else min(upright, key=lambda line: line.base)


def _furniture(lines: Sequence[Line | None], pages: Sequence[PageLines], usual: float) -> set[int]:
    """The pages on which the given line is the same as on most, or the page number."""
    found: set[int] = set()
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        if line and line.size <= _LARGER_THAN_TEXT * usual:
            for template in _templates(line, number):
                places[template, round(line.base / _SAME_PLACE)].append(number)
    for (template, place), numbers in places.items():
        # Places are rounded: what lies at the edge of one belongs to its neighbour too.
        near = {*numbers, *places.get((template, place - 1), ()), *places.get((template, place + 1), ())}
        if _on_most(near, len(lines)) and all(_may_be(template, lines[n], pages[n]) for n in numbers):
            found.update(numbers)
    return found


def _on_most(numbers: set[int], count: int) -> bool:
    """On more than half of all pages, or of those on the left or on the right of an open book."""
    if 2 * len(numbers) > count:
        return True
    return any(
        2 * sum(number % 2 == side for number in numbers) > len(range(side, count, 2)) >= _MIN_PAGES for side in (0, 1)
    )


def _may_be(template: str, line: Line | None, page: PageLines) -> bool:
    if "\0" in template and _PAGE_NUMBER.fullmatch(template.partition("\1")[0]):
        return True
    if line is None:
        return False
    return line.base > (1 - _MARGIN) * page.height or line.top < _MARGIN * page.height


def _templates(line: Line, number: int) -> set[str]:
    """What a line is compared by: itself, and itself with its page number as NUL, followed by its distance to the page.

    Only a cell of its own ("The manual        12") or a line that says nothing else can be a page number.
    """
    texts = [" ".join(part.text.split()) for part in line.parts]
    found = {"".join("".join(sorted(texts)).split())}  # letters that were set apart are not always read as one word
    for position, text in enumerate(texts):
        for match in _NUMBER.finditer(text):
            value = _value(match[0])
            template = text[: match.start()] + "\0" + text[match.end() :]
            if value is not None and _PAGE_NUMBER.fullmatch(template):
                others = sorted([*texts[:position], *texts[position + 1 :]])
                found.add(
                    f"{template}\1{value - number}{' '.join(others)}" if others else f"{template}\1{value - number}"
                )
    return found


def _value(number: str) -> int | None:
    if number.isdecimal():
        return int(number) if len(number) < 6 else None
    return from_roman(number)
