"""What holds inside a group of RTF: it is the group's own, and ends with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.rtf.writer import CellPlace

Sink = Callable[[str], None]
_HEADING_NAME = re.compile(r"heading ([1-9])", re.IGNORECASE)
_BODY_LEVEL = 9
_MOST_BASES = 20  # that styles have in turn; there are circles


def nowhere(_text: str) -> None:
    """Where text goes that is none of the document, though groups inside it may be."""


@dataclass
class Style:
    """A style of paragraphs."""

    name: str = ""
    outline: int | None = None
    base: int | None = None

    def level(self) -> int | None:
        """Of its headings, from 0; None if that is for the style it is based on to say."""
        name = self.name.strip(" ;")
        if self.outline is not None or name.lower() == "title":
            return self.outline or 0
        found = _HEADING_NAME.fullmatch(name)
        return int(found[1]) - 1 if found else None


@dataclass
class Field:
    """A field: what it is to show; of a field of a form, the number of its value and the lines to choose from."""

    instruction: str = ""
    result: int | None = None
    lines: list[str] = field(default_factory=list)

    def form_value(self) -> str:
        """What a box or a list shows; empty for other fields."""
        kind, value = self.instruction.strip().partition(" ")[0], self.result or 0
        if kind == "FORMCHECKBOX":
            return "☒" if value else "☐"
        return self.lines[value] if kind == "FORMDROPDOWN" and 0 <= value < len(self.lines) else ""


@dataclass
class Drawing:
    """A picture or shape; ``name`` is that of the property that is being read."""

    name: str = ""
    description: str = ""
    has_picture: bool = False


@dataclass
class State:
    """What holds for the text of a group; a group inside begins with a copy.

    Attributes:
        sink: Where text goes; None where the whole group is left out.
        is_choice: Of the groups inside, the last is read, which has the same in Unicode.
        font: None for the usual one; -1 for the characters of the document.
        fallback: How many characters behind one of Unicode are for other readers.
        marks: Tags of HTML, the inner first.
        hidden: What its text is if it is not shown.
        outline: Level of the paragraph, from 0; None if its style says it.
        object_class: One text, which the object's own groups fill.
    """

    sink: Sink | None
    is_choice: bool = False
    is_font_table: bool = False
    is_stylesheet: bool = False
    is_inner_plan: bool = False
    is_object: bool = False
    font: int | None = None
    fallback: int = 1
    marks: tuple[str, ...] = ()
    hidden: str = ""
    link: str = ""
    style: int = 0
    outline: int | None = None
    in_list: bool = False
    list_level: int = 0
    table_level: int = 0
    next_cell: CellPlace = field(default_factory=lambda: CellPlace(0))
    time: dict[str, int] = field(default_factory=dict)
    drawing: Drawing | None = None
    object_class: list[str] = field(default_factory=lambda: [""])
    math: Element | None = None

    def copied(self) -> State:
        """The state of a group inside."""
        state = State.__new__(State)
        state.__dict__.update(self.__dict__)  # four times as fast as ``replace``: files have a group for each word
        return state

    def begin_flow(self, sink: Sink) -> None:
        """Begins a text of its own."""
        self.sink, self.math, self.drawing = sink, None, None
        self.link = ""
        self.plain()
        self.begin_paragraph()

    def begin_paragraph(self) -> None:
        """Takes back what a paragraph has."""
        self.style, self.outline, self.in_list, self.list_level, self.table_level = 0, None, False, 0, 0

    def plain(self) -> None:
        """Takes back what characters have."""
        self.marks, self.font, self.hidden = (), None, ""

    def mark(self, tag: str, *, is_on: bool) -> None:
        """Marks the text from here on, or no longer."""
        others = tuple(each for each in self.marks if each != tag and not {each, tag} <= {"sup", "sub"})
        self.marks = ((tag, *others) if tag in {"sup", "sub"} else (*others, tag)) if is_on else others

    def item_level(self) -> int | None:
        """The level of an item of a list, from 0; None in no list."""
        return max(0, self.list_level) if self.in_list else None

    def heading(self, styles: dict[int, Style]) -> int:
        """The level of the paragraph as a heading of Markdown, from 1; 0 if it is none."""
        level, style = self.outline, styles.get(self.style)
        for _ in range(_MOST_BASES):
            if level is not None or style is None:
                break
            level = style.level()
            style = None if style.base is None else styles.get(style.base)
        return min(level + 1, 6) if level is not None and 0 <= level < _BODY_LEVEL else 0
