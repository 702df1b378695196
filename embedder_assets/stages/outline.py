"""The headings of a Markdown text, and the sections that they begin.

Only headings count that CommonMark would show as such at the top level: none in code, quotes, lists or front matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

HEADING_SEPARATOR = " > "
_LINE_END = re.compile(r"\r\n?|\n")  # what markdown-it takes for one
_FRONT_MATTER = re.compile(r"---[ \t]*\n[\w\"'-][^\n:]*+:.*?\n---[ \t]*(\n|\Z)", re.DOTALL)
_MAX_TITLE_CHARS = 200


@dataclass(frozen=True)
class Heading:
    """A heading; ``start`` is the character offset of its line."""

    level: int
    title: str
    start: int


@dataclass(frozen=True)
class Section:
    """The text from one heading to the next; ``path`` holds the titles from the outermost heading to its own."""

    start: int
    end: int
    level: int
    path: tuple[str, ...]


def headings(text: str) -> list[Heading]:
    """List the headings of a Markdown text, in order."""
    starts = line_starts(text)
    front_matter = _FRONT_MATTER.match(text)
    first = front_matter.end() if front_matter else 0
    found = []
    for opening, content in pairwise(parse_blocks(text)):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            start = starts[opening.map[0]]
            if start >= first:
                found.append(Heading(int(opening.tag[1:]), _plain(content.content), start))
    return found


def sections(text: str) -> list[Section]:
    """Cut a Markdown text at its headings; the first section, at level 0, is what stands before any heading."""
    found = headings(text)
    starts = [heading.start for heading in found]
    result = [Section(0, starts[0] if starts else len(text), 0, ())]
    ancestors: list[Heading] = []
    for heading, end in zip(found, [*starts, len(text)][1:], strict=True):
        ancestors = [above for above in ancestors if above.level < heading.level] + [heading]
        path = tuple(above.title for above in ancestors if above.title)
        result.append(Section(heading.start, end, heading.level, path))
    return result


def parse_blocks(text: str) -> list[Token]:
    """Parse the blocks of a Markdown text (headings, paragraphs, lists, …) but not what is inside a line."""
    return _block_parser().parse(text)


def line_starts(text: str) -> list[int]:
    """List the character offset of each line, as the lines of parsed blocks are counted."""
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


def _plain(inline_markdown: str) -> str:
    """Drop the Markdown marks of a heading: ``The `x` [option](#x)`` becomes ``The x option``."""
    (token,) = _inline_parser().parseInline(inline_markdown[:_MAX_TITLE_CHARS])
    parts = [" " if child.type in {"softbreak", "hardbreak"} else child.content for child in token.children or []]
    return " ".join("".join(parts).split())


@cache
def _block_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


@cache
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False})
