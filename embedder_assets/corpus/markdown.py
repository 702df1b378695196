"""The headings of a Markdown text, and the sections that they begin.

Only headings count that CommonMark would show as such at the top level: none in code, quotes, lists or front matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, repeat

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

HEADING_SEPARATOR = " > "
_LINE_END = re.compile(r"\r\n?|\n")  # what markdown-it takes for one
_FRONT_MATTER = re.compile(r"---[ \t]*\n[\w\"'-][^\n:]*+:.*?\n---[ \t]*(\n|\Z)", re.DOTALL)
_MAX_TITLE_CHARS = 200
_STEPS = "steps"


@dataclass(frozen=True)
class Heading:
    """A heading; ``start`` is the character offset of its line."""

    level: int
    title: str
    start: int


@dataclass(frozen=True)
class HeadingSection:
    """The text from one heading to the next; ``path`` holds the titles from the outermost heading to its own."""

    start: int
    end: int
    level: int
    path: tuple[str, ...]


class TooManyStepsError(Exception):
    """A Markdown text takes more steps to parse than were allowed."""


def headings(text: str, most_steps: int | None = None) -> list[Heading]:
    """List the headings of a Markdown text, in order.

    Raises:
        TooManyStepsError: The parser needs more than ``most_steps``. The time for text that is made for it, or damaged,
            may grow with the square of its length.
    """
    starts = line_starts(text)
    front_matter = _FRONT_MATTER.match(text)
    first = front_matter.end() if front_matter else 0
    found = []
    for opening, content in pairwise(parse_blocks(text, most_steps)):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            start = starts[opening.map[0]]
            if start >= first:
                found.append(Heading(int(opening.tag[1:]), _plain(content.content), start))
    return found


def sections(text: str) -> list[HeadingSection]:
    """Cut a Markdown text at its headings; the first section, at level 0, is what stands before any heading."""
    found = headings(text)
    starts = [heading.start for heading in found]
    result = [HeadingSection(0, starts[0] if starts else len(text), 0, ())]
    ancestors: list[Heading] = []
    for heading, end in zip(found, [*starts, len(text)][1:], strict=True):
        ancestors = [above for above in ancestors if above.level < heading.level] + [heading]
        path = tuple(above.title for above in ancestors if above.title)
        result.append(HeadingSection(heading.start, end, heading.level, path))
    return result


def parse_blocks(text: str, most_steps: int | None = None) -> list[Token]:
    """Parse the blocks of a Markdown text (headings, paragraphs, lists, …) but not what is inside a line."""
    if most_steps is None:
        return _block_parser().parse(text)
    return _counting_parser().parse(text, {_STEPS: repeat(None, most_steps)})


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
    return _new_block_parser()


def _new_block_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


@cache
def _counting_parser() -> MarkdownIt:
    """The same, and each look whether a line ends the block before it is a step."""
    parser = _new_block_parser()
    parser.block.ruler.before("code", "count", _count, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return parser


def _count(state: StateBlock, _start: int, _end: int, _silent: bool) -> bool:
    for _ in state.env[_STEPS]:
        return False
    raise TooManyStepsError


@cache
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False})
