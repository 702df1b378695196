"""The numbers that Word gives to the paragraphs of lists and to headings (ECMA-376, part 1, 17.9)."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.package import whole_number
from embedder_assets.corpus.extract.roman_numerals import to_roman

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9


@dataclass(frozen=True)
class Level:
    """One level of a list: the number of its first paragraph, how it is written, and the words around it."""

    start: int
    number_format: str
    text: str


@dataclass(frozen=True)
class Numbered:
    """The number of a paragraph, how it is shown (``3.2``; empty for a bullet), and its level from 0."""

    number: int
    label: str
    level: int


@dataclass
class _List:
    """A list whose paragraphs count together; the numbers of its levels so far."""

    levels: dict[int, Level]
    counts: list[int | None] = field(default_factory=lambda: [None] * _LEVELS)


class Numbering:
    """Counts the paragraphs of a document in their order."""

    def __init__(self, numbering: Element | None, styles: Element | None) -> None:
        self._lists: dict[str, _List] = {}
        self._starts: dict[str, dict[int, int]] = defaultdict(dict)
        self._styles = {} if styles is None else {_value(each, "styleId"): each for each in styles.iter(f"{W}style")}
        if numbering is not None:
            self._read(numbering)

    def _read(self, numbering: Element) -> None:
        abstract = {
            _value(each, "abstractNumId"): _List(
                {whole_number(_value(level, "ilvl"), 0): _level(level) for level in each.iter(f"{W}lvl")}
            )
            for each in numbering.iterfind(f"{W}abstractNum")
        }
        for each in numbering.iterfind(f"{W}num"):
            key, reference = _value(each, "numId"), each.find(f"{W}abstractNumId")
            found = abstract.get(_value(reference, "val")) if reference is not None else None
            if found is not None:
                self._lists[key] = found
            for override in each.iterfind(f"{W}lvlOverride"):
                start = override.find(f"{W}startOverride")
                if start is not None:
                    self._starts[key][whole_number(_value(override, "ilvl"), 0)] = whole_number(_value(start, "val"), 0)

    def count(self, paragraph: Element) -> Numbered | None:
        """The number of the next paragraph; None if it is in no list."""
        key, at = self._place(paragraph)
        numbered = self._lists.get(key)
        level = numbered.levels.get(at) if numbered is not None else None
        if numbered is None or level is None or at >= _LEVELS:
            return None
        restart = self._starts[key].pop(at, None)
        last = numbered.counts[at]
        number = restart if restart is not None else level.start if last is None else last + 1
        numbered.counts[at:] = [number, *[None] * (_LEVELS - at - 1)]
        if level.number_format == "none":
            return None
        label = "" if level.number_format == "bullet" else self._label(numbered, level)
        return Numbered(number, label, at)

    def _label(self, numbered: _List, level: Level) -> str:
        def write(found: re.Match[str]) -> str:
            at = int(found[1]) - 1
            upper = numbered.levels.get(at, level)
            number = numbered.counts[at] if at < _LEVELS else None
            return written(upper.start if number is None else number, upper.number_format)

        return re.sub(r"%([1-9])", write, level.text).strip()

    def _place(self, paragraph: Element) -> tuple[str, int]:
        """The list and the level of a paragraph, its own or those of its style."""
        key, level = _numbering_of(paragraph)
        style = paragraph.find(f"{W}pPr/{W}pStyle")
        name = _value(style, "val") if style is not None else ""
        seen: set[str] = set()
        while (not key or level is None) and name in self._styles and name not in seen:
            seen.add(name)
            inherited, inherited_level = _numbering_of(self._styles[name])
            key = key or inherited
            level = inherited_level if level is None else level
            base = self._styles[name].find(f"{W}basedOn")
            name = _value(base, "val") if base is not None else ""
        return key, level or 0


def written(number: int, number_format: str) -> str:
    """A number as a list writes it: in digits, letters or Roman numerals."""
    if number > 0 and number_format.endswith("Roman"):
        text = to_roman(number)
    elif number > 0 and number_format.endswith("Letter"):
        text = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
    else:
        return f"{number:02d}" if number_format == "decimalZero" else str(number)
    return text.upper() if number_format.startswith("upper") else text


def _numbering_of(element: Element) -> tuple[str, int | None]:
    properties = element.find(f"{W}pPr/{W}numPr")
    if properties is None:
        return "", None
    number, level = properties.find(f"{W}numId"), properties.find(f"{W}ilvl")
    return (
        _value(number, "val") if number is not None else "",
        whole_number(_value(level, "val"), 0) if level is not None else None,
    )


def _level(level: Element) -> Level:
    start, number_format, text = (level.find(f"{W}{name}") for name in ("start", "numFmt", "lvlText"))
    return Level(
        whole_number(_value(start, "val"), 0) if start is not None else 0,
        _value(number_format, "val") if number_format is not None else "decimal",
        _value(text, "val") if text is not None else "",
    )


def _value(element: Element, name: str) -> str:
    return element.get(f"{W}{name}") or ""
