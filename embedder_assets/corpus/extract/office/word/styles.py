"""What the styles and lists of a Word document say of its paragraphs: headings, hidden text, numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.word.numbering import Numbering, W

_HEADING_LEVELS = 6  # of Markdown; Word has nine
_HEADING_NAME = re.compile(r"heading ([1-9])", re.IGNORECASE)
BULLETS = "1000000"  # the id of a list of bullets that is added to those of the document


class WordStyles:
    """Reads the parts with styles and lists, and rewrites them for mammoth.

    Attributes:
        hidden: The styles of characters that are not shown.
        headings: The styles of headings. Each has the name by which mammoth knows it: its level may be its own, or that
            of a style that it is based on.
        numbering: Counts the paragraphs of the document.
    """

    def __init__(self, styles: Element | None, numbering: Element | None) -> None:
        self.numbering = Numbering(numbering, styles)
        self._by_id = {} if styles is None else {_id(style): style for style in styles.iter(f"{W}style")}
        self.hidden = {
            key
            for key, style in self._by_id.items()
            if style.get(f"{W}type") == "character" and style.find(f"{W}rPr/{W}vanish") is not None
        }
        levels = {key: self._level(key) for key in self._by_id}
        self.headings = {key for key, level in levels.items() if level}
        for key in self.headings:
            name = self._by_id[key].find(f"{W}name")
            if name is not None:
                name.set(f"{W}val", f"heading {min(levels[key], _HEADING_LEVELS)}")
        if numbering is not None:
            _add_bullets(numbering)

    def _level(self, key: str) -> int:
        """The level of a style's headings, from 1 to 9; 0 for text."""
        seen: set[str] = set()
        while key in self._by_id and key not in seen:
            seen.add(key)
            style = self._by_id[key]
            level, name, base = (style.find(path) for path in (f"{W}pPr/{W}outlineLvl", f"{W}name", f"{W}basedOn"))
            if level is not None:
                number = _value(level)
                return int(number) + 1 if number in set("012345678") else 0
            if found := _HEADING_NAME.fullmatch(_value(name)):
                return int(found[1])
            key = _value(base)
        return 0


def _id(style: Element) -> str:
    return style.get(f"{W}styleId") or ""


def _value(element: Element | None) -> str:
    return "" if element is None else element.get(f"{W}val") or ""


def _add_bullets(numbering: Element) -> None:
    abstract = Element(f"{W}abstractNum", {f"{W}abstractNumId": BULLETS})
    for level in range(9):
        each = ElementTree.SubElement(abstract, f"{W}lvl", {f"{W}ilvl": str(level)})
        ElementTree.SubElement(each, f"{W}numFmt", {f"{W}val": "bullet"})
    number = Element(f"{W}num", {f"{W}numId": BULLETS})
    ElementTree.SubElement(number, f"{W}abstractNumId", {f"{W}val": BULLETS})
    numbering.extend([abstract, number])
