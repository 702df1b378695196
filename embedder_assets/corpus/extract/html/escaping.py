"""Words that CommonMark would read as markup, escaped; nothing else is, since an escape is noise to a model."""

from __future__ import annotations

import re

from embedder_assets.corpus.markdown import headings

# The tags that begin a block of HTML (CommonMark 0.31, 4.6, conditions 1 and 6).
_BLOCK_TAGS = (
    "pre|script|style|textarea|address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|"
    "details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|"
    "iframe|legend|li|link|main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|source|summary|"
    "table|tbody|td|tfoot|th|thead|title|tr|track|ul"
)
# What a line of a paragraph may begin with that would end the paragraph, or make another block of it.
_LINE_MARKUP = re.compile(
    r"(?=#{1,6}(?:[ \t]|$)|>|[-+*](?:[ \t]|$)|`{3,}[^`]*$|~{3}|([-_*])(?:[ \t]*\1){2,}[ \t]*$"
    rf"|<(?:[!?]|/?(?:{_BLOCK_TAGS})(?:[\s/>]|$)))",
    re.MULTILINE | re.IGNORECASE,
)
_ITEM_NUMBER = re.compile(r"(\d{1,9})([.)](?:[ \t]|$))", re.MULTILINE)
# Below a line of text: an underline that makes a heading of it, or the second row of a table.
_UNDERLINE = re.compile(r"=+[ \t]*$|(?=[ |:]*-)[ |:-]*$", re.MULTILINE)
# At the beginning of a paragraph only: the definition of a link, and a tag that stands alone.
_DEFINITION = re.compile(r"\[(?:[^\[\]\\]|\\.)+\]:", re.DOTALL)
_LONE_TAG = re.compile(r"</?[a-z][^\n]*>[ \t]*$", re.MULTILINE | re.IGNORECASE)
_TITLE_CHARS = 200  # of which ``headings`` makes a title
_HEADING_MARKUP = re.compile(r"[\\`*_\[\]<>&#{}~^!]")


def escape_paragraph(text: str) -> str:
    """Escape the lines of a paragraph, none of which begins with a space, so that they stay one paragraph."""
    first, *others = text.split("\n")
    if _DEFINITION.match(text) or _LONE_TAG.match(first):
        first = "\\" + first
    return "\n".join([_escape_line(first), *(_escape_line(line, _UNDERLINE) for line in others)])


def escape_heading(text: str) -> str:
    """Escape the one line of a heading if it would be read as other words than it has."""
    if _HEADING_MARKUP.search(text) is None:
        return text
    if _read_back(text) == [text[:_TITLE_CHARS].split()]:
        return text
    marks = set(_HEADING_MARKUP.findall(text))
    for mark in sorted(marks):
        if _read_back(_escaped(text, marks - {mark}))[:1] == [text[:_TITLE_CHARS].split()]:
            marks.remove(mark)
    return _escaped(text, marks)


def _escaped(text: str, marks: set[str]) -> str:
    return "".join(f"\\{character}" if character in marks else character for character in text)


def _read_back(heading: str) -> list[list[str]]:
    """The words of each heading in what is to be one."""
    return [found.title.split() for found in headings(f"# {heading}\n")]


def _escape_line(line: str, also: re.Pattern[str] | None = None) -> str:
    if _LINE_MARKUP.match(line) or (also and also.match(line)):
        return "\\" + line
    return _ITEM_NUMBER.sub(r"\1\\\2", line, count=1) if _ITEM_NUMBER.match(line) else line
