"""What the styles and lists of a Word document say of its paragraphs: headings, hidden text, numbers."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.word.numbering import Numbering, W

_HEADING_LEVELS = 6  # of Markdown; Word has nine
_HEADING_NAME = re.compile(r"heading ([1-9])", re.IGNORECASE)
_CODE = {"code", "source code", "html preformatted", "preformatted text", "plain text"}


class WordStyles:
    """Reads the parts with styles and lists.

    Attributes:
        hidden: The styles of characters that are not shown.
        headings: The styles of headings and the level of each in Markdown, its own or that of the style it is based on.
        code: The styles of lines of code.
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
        levels = {key: min(self._level(key), _HEADING_LEVELS) for key in self._by_id}
        self.headings = {key: level for key, level in levels.items() if level}
        names = {key: _value(style.find(f"{W}name")).lower() for key, style in self._by_id.items()}
        self.code = {key for key, name in names.items() if name in _CODE}

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
            if _value(name).lower() == "title":
                return 1
            if found := _HEADING_NAME.fullmatch(_value(name)):
                return int(found[1])
            key = _value(base)
        return 0


def _id(style: Element) -> str:
    return style.get(f"{W}styleId") or ""


def _value(element: Element | None) -> str:
    return "" if element is None else element.get(f"{W}val") or ""
