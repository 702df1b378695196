"""The headings of a Markdown text, and the sections that they begin.

Only headings count that CommonMark would show as such at the top level: none in code, quotes or lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from itertools import pairwise, repeat
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

HEADING_SEPARATOR = " > "
_LINE_END = re.compile(r"\r\n?|\n")  # what markdown-it takes for one
_MAX_TITLE_CHARS = 200
_MAX_HEADING_CHARS = 2000  # with its marks
_STEPS = "steps"
_HTML_HEADING = re.compile(r"<h([1-6])\b[^<>]{0,500}>((?:(?!<h[1-6]).){0,2000}?)</h\1\s*>", re.DOTALL | re.IGNORECASE)
_HTML_TAG = re.compile(r"<!--.{0,2000}?-->|</?([a-zA-Z][\w-]*)\b[^<>]{0,2000}>", re.DOTALL)
_ALT = re.compile(r"\balt\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
# Elements that people write in a heading; others, such as <name>, stand for something that is to be filled in.
_INLINE_ELEMENT = re.compile(
    "a|abbr|b|bdi|bdo|big|br|center|cite|code|del|dfn|div|em|font|i|img|ins|kbd|mark|p|picture|q|s|samp|small|source|"
    "span|strike|strong|sub|summary|sup|tt|u|var|wbr",
    re.IGNORECASE,
)
_ATTRIBUTE = r"(?:[#.][\w:.-]+|[\w-]+=(?:\"[^\"]*\"|'[^']*'|[^\s}\"']+)|-)"
# What no reader of a heading sees. A group ``words`` is what one does see.
_HEADING_MARK = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}"  # shortcodes of Hugo, Liquid, Jinja
    r"|\\?\{/\*.*?\*/\}"  # comments of MDX, also for an id
    rf"|\\?\{{:?\s*{_ATTRIBUTE}(?:\s+{_ATTRIBUTE})*\s*\}}"  # attributes of Pandoc, kramdown, Docusaurus
    r"|\[\^[^\]\s]+\]|\^\[[^\]]*\]"  # footnotes
    r"|!\[\[[^\]]*\]\]|\[\[(?:[^\[\]|]*\|)?(?P<link>[^\[\]]+)\]\]"  # embedded notes and links of a wiki
    r"|==(?P<marked>[^=\s](?:[^=]*[^=\s])?)=="
    r"|\{[\w:+.-]+\}(?=`)"  # roles of MyST
)


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
    env: dict[str, Any] = {}  # takes the definitions of links
    found = []
    for token, content in pairwise([*parse_blocks(text, most_steps, env), Token("", "", 0)]):
        if token.level or not token.map:
            continue
        start = starts[token.map[0]]
        if token.type == "heading_open":
            found.append(Heading(int(token.tag[1:]), _heading_words(content.content, env), start))
        elif token.type == "html_block":
            found += _html_headings(text[start : starts[token.map[1]] if token.map[1] < len(starts) else None], start)
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


def parse_blocks(text: str, most_steps: int | None = None, env: dict[str, Any] | None = None) -> list[Token]:
    """Parse the blocks of a Markdown text (headings, paragraphs, lists, …) but not what is inside a line.

    ``env`` is filled with the definitions of links, by which headings are parsed.
    """
    env = {} if env is None else env
    if most_steps is None:
        return _block_parser().parse(text, env)
    env[_STEPS] = repeat(None, most_steps)
    return _counting_parser().parse(text, env)


def line_starts(text: str) -> list[int]:
    """List the character offset of each line, as the lines of parsed blocks are counted."""
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


def _heading_words(inline_markdown: str, env: dict[str, Any]) -> str:
    """Drop the marks of a heading: ``The `x` [option](#x){#y}`` becomes ``The x option``.

    A picture counts where there are no words: a logo is a title, a badge behind it is none.
    """
    (token,) = _inline_parser().parseInline(inline_markdown[:_MAX_HEADING_CHARS], env)
    words, pictures = [], []
    for child in token.children or []:
        if child.type == "image":
            pictures.append(child.content)
        elif child.type == "html_inline":
            words.append(_HTML_TAG.sub(_tag_text, child.content))
            pictures += _ALT.findall(child.content)
        else:
            words.append(" " if child.type in {"softbreak", "hardbreak"} else child.content)
    return _one_line("".join(words)) or _one_line(" ".join(pictures))


def _html_headings(html: str, start: int) -> Iterator[Heading]:
    """The headings that a Markdown text writes in HTML, most often to centre them."""
    for found in _HTML_HEADING.finditer(html):
        words = unescape(_HTML_TAG.sub(_tag_text, found[2]))
        title = _one_line(words) or _one_line(" ".join(_ALT.findall(found[2])))
        yield Heading(int(found[1]), title, start + html.rfind("\n", 0, found.start()) + 1)


def _tag_text(tag: re.Match[str]) -> str:
    name = tag[1] or ""
    if name and not _INLINE_ELEMENT.fullmatch(name):
        return tag.group()
    return " " if name.lower() == "br" else ""


def _one_line(words: str) -> str:
    return " ".join(words.split())[:_MAX_TITLE_CHARS]


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
    parser = MarkdownIt("commonmark", {"html": True}).enable("strikethrough")
    # Behind code, in which the same signs are words, and before escapes and links.
    parser.inline.ruler.before("escape", "heading_mark", _heading_mark)
    return parser


def _heading_mark(state: StateInline, silent: bool) -> bool:
    mark = _HEADING_MARK.match(state.src, state.pos)
    if not mark:
        return False
    if not silent:
        state.pending += mark["link"] or mark["marked"] or ""
    state.pos = mark.end()
    return True
