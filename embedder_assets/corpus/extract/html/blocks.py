"""The elements of a page as blocks of Markdown: paragraphs, headings, lists, tables, code, quotes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from selectolax.lexbor import LexborNode

from embedder_assets.corpus.extract.html.context import HEADINGS, TEXT, Context, attribute
from embedder_assets.corpus.extract.html.escaping import escape_heading, escape_paragraph
from embedder_assets.corpus.extract.html.inline import Inline
from embedder_assets.corpus.extract.html.tables import layout_cells, read_table
from embedder_assets.corpus.extract.limits import too_long
from embedder_assets.corpus.extract.markdown_table import markdown_table
from embedder_assets.corpus.extract.roman_numerals import to_roman

_ANY_HEADING = ", ".join(sorted(HEADINGS))
_LISTS = {"ul", "ol", "menu", "dir"}
_FENCE = re.compile(r"^`{3,}", re.MULTILINE)
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight(?:-source)?)-([\w+#.-]+)")
_DEEPEST_HEADING = 6


@dataclass
class Block:
    """A block of Markdown.

    Attributes:
        text: The Markdown; of a paragraph before anything is escaped, of ``details`` the words of the summary.
        kind: ``paragraph``, ``heading``, ``list``, ``inner list``, ``details`` or ``other``.
        level: Of a heading.
        inside: What a ``details`` element shows below its summary.
    """

    text: str
    kind: str = "paragraph"
    level: int = 0
    inside: list[Block] = field(default_factory=list)


def markdown_of(node: LexborNode, context: Context) -> str:
    """An element as Markdown."""
    return _joined(_opened(_block(node, context), at_top=True))


def _blocks(node: LexborNode, context: Context) -> list[Block]:
    blocks: list[Block] = []
    for run in context.runs(node):
        if isinstance(run, list):
            blocks += map(Block, Inline(context).paragraphs(run))
        else:
            blocks += _block(run, context)
    return blocks


def _block(node: LexborNode, context: Context) -> list[Block]:
    if attribute(node, "role") == "heading":
        return _heading(node, context)
    return _WRITERS.get(node.tag or "", _blocks)(node, context)


def _joined(blocks: list[Block]) -> str:
    parts: list[str] = []
    for block, before in zip(blocks, [None, *blocks], strict=False):
        if before is not None:
            # A list within an item follows its words without a gap.
            parts.append("\n" if block.kind == "inner list" else "\n\n")
        parts.append(escape_paragraph(block.text) if block.kind == "paragraph" else block.text)
    return "".join(parts)


def _opened(blocks: list[Block], *, at_top: bool, level: int = 0) -> list[Block]:
    """Put what ``details`` elements show below their summaries.

    A summary is the heading of what it shows. It is written as one where no other text follows, which would come to
    stand under it.
    """
    opened: list[Block] = []
    # A run of details has one form: from its end, whether a heading follows it or nothing.
    before_heading, follows = [], at_top
    for block in reversed(blocks):
        follows = follows if block.kind == "details" else at_top and block.kind == "heading"
        before_heading.append(follows)
    for block, is_heading in zip(blocks, reversed(before_heading), strict=True):
        if block.kind != "details":
            level = block.level or level
            opened.append(block)
            continue
        below = min(level + 1, _DEEPEST_HEADING)
        if is_heading:
            opened.append(Block(f"{'#' * below} {escape_heading(block.text)}", "heading", below))
        else:
            opened += _bold(block.text)
        opened += _opened(block.inside, at_top=is_heading, level=below)
    return opened


def _heading(node: LexborNode, context: Context) -> list[Block]:
    text = Inline(context, plain=True).children(node).replace("\n", " ")
    if not text:
        return []
    stated = node.tag[1:] if node.tag in HEADINGS else attribute(node, "aria-level")
    level = int(stated) if stated in set("123456") else 2
    return [Block(f"{'#' * level} {escape_heading(text)}", "heading", level)]


def _bold(text: str) -> list[Block]:
    return [Block(f"**{text.replace('**', '')}**")] if text else []


def _deleted(node: LexborNode, context: Context) -> list[Block]:
    blocks = _blocks(node, context)
    return [replace(block, text=f"~~{block.text}~~") if block.kind == "paragraph" else block for block in blocks]


def _table(node: LexborNode, context: Context) -> list[Block]:
    cells = layout_cells(node, context)
    if cells is not None:
        return [block for cell in cells for block in _blocks(cell, context)]
    table = read_table(node, context)
    captions = [Block(caption) for caption in table.captions]
    return [*captions, *([Block(markdown_table(table.rows).rstrip(), "other")] if table.rows else [])]


def _quote(node: LexborNode, context: Context) -> list[Block]:
    text = _joined(_opened(_blocks(node, context), at_top=False))
    quoted = "\n".join(f"> {line}" if line else ">" for line in text.split("\n"))
    return [Block(quoted, "other")] if text else []


def _code(node: LexborNode, context: Context) -> list[Block]:
    text = _literal(node, context).strip("\n").rstrip()
    if not text.strip():
        return []
    if "math" in attribute(node, "class").split():
        return [Block(f"$$\n{text.strip()}\n$$", "other")]
    fence = "`" * max(3, *(len(run) + 1 for run in ["", *_FENCE.findall(text)]))
    return [Block(f"{fence}{_language(node)}\n{text}\n{fence}", "other")]


def _literal(node: LexborNode, context: Context) -> str:
    """The text of an element with its spaces and line ends."""
    parts: list[str] = []
    for child in context.children(node):
        if child.tag == TEXT:
            parts.append(child.text_content or "")
        elif child.tag == "br":
            parts.append("\n")
        elif child.tag == "img":
            parts.append(Inline(context).line([child]))
        else:
            parts.append(_literal(child, context))
            if context.is_block(child) and not parts[-1].endswith("\n"):
                parts.append("\n")
    return "".join(parts)


def _language(pre: LexborNode) -> str:
    """The language of a code block, by the classes of highlighters (CommonMark, Sphinx, GitHub)."""
    around = [pre.css_first("code"), pre, pre.parent, pre.parent.parent if pre.parent is not None else None]
    found = (_LANGUAGE.search(attribute(node, "class")) for node in around if node is not None)
    return next((match[1] for match in found if match and match[1] not in {"default", "none", "notranslate"}), "")


def _list(node: LexborNode, context: Context) -> list[Block]:
    if node.css_first(_ANY_HEADING) is not None:  # cards: a heading in a list would be none
        return _blocks(node, context)
    number, step = _numbering(node)
    items: list[tuple[tuple[str, str], list[Block]]] = []
    for run in context.runs(node):
        if isinstance(run, list):
            blocks = [Block(text) for text in Inline(context).paragraphs(run)]
        elif run.tag in _LISTS and items:  # belongs to the item above it
            items[-1][1].extend(_block(run, context))
            continue
        else:
            number = _number(run, "value", number)
            blocks = _block(run, context) if run.tag in _LISTS else _blocks(run, context)
        if blocks:
            items.append((_marker(node, number), blocks))
        number += 0 if isinstance(run, list) else step
    return [Block("\n".join(_items(items, context)), "list")] if items else []


def _items(items: list[tuple[tuple[str, str], list[Block]]], context: Context) -> Iterator[str]:
    chars = 0
    for (mark, label), blocks in items:
        opened = _opened(blocks, at_top=False)
        if label:
            first = opened[0] if opened[0].kind == "paragraph" else Block("")
            opened = [Block(f"{label} {first.text}".rstrip()), *(opened[1:] if first.text else opened)]
        inner = [replace(block, kind="inner list") if block.kind == "list" else block for block in opened]
        line_end = "\n" + " " * len(mark)
        item = mark + _joined(inner).replace("\n", line_end).replace(f"{line_end}\n", "\n\n")
        chars += len(item)
        if chars > context.limits.text_chars:  # each level indents the text again
            raise too_long(context.thing, context.limits)
        yield item


def _numbering(node: LexborNode) -> tuple[int, int]:
    if node.tag != "ol" or "reversed" not in node.attrs:
        return _number(node, "start", 1), 1
    return _number(node, "start", sum(child.tag == "li" for child in node.iter())), -1


def _number(node: LexborNode, name: str, otherwise: int) -> int:
    value = attribute(node, name)
    return int(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else otherwise


def _marker(node: LexborNode, number: int) -> tuple[str, str]:
    """The mark of an item, and its number where Markdown has none of that kind."""
    kind = attribute(node, "type")
    if node.tag != "ol":
        return "- ", ""
    if kind in {"a", "A"} and 0 < number <= 26:
        return "- ", f"{chr(ord(kind) + number - 1)}."
    if kind in {"i", "I"} and 0 < number < 40:
        roman = to_roman(number)
        return "- ", f"{roman if kind == 'i' else roman.upper()}."
    return f"{max(number, 0)}. ", ""


def _definitions(node: LexborNode, context: Context) -> list[Block]:
    if node.css_first(_ANY_HEADING) is not None:
        return _blocks(node, context)
    blocks: list[Block] = []
    terms: list[str] = []
    for child in _terms(node, context):
        if child.tag == "dt":
            terms.append(Inline(context).children(child).replace("\n", " "))
            continue
        said = [Block(context.text(child))] if child.tag == TEXT else _blocks(child, context)
        term, terms = ", ".join(filter(None, terms)), []
        blocks += _defined(term, said) if term else said
    return blocks + [Block(term) for term in terms if term]


def _terms(node: LexborNode, context: Context) -> list[LexborNode]:
    found = []
    for child in context.children(node):
        found += _terms(child, context) if child.tag == "div" else [child]
    return [child for child in found if child.tag != TEXT or context.text(child)]


def _defined(term: str, said: list[Block]) -> list[Block]:
    colon = "" if term.endswith((":", "?", "!", ".")) else ":"
    if len(said) == 1 and said[0].kind == "paragraph":
        return [Block(f"{term}{colon} {said[0].text}")]
    return [Block(f"{term}{colon}"), *said]


def _details(node: LexborNode, context: Context) -> list[Block]:
    summary = next((child for child in context.children(node) if child.tag == "summary"), None)
    if summary is None or summary.css_first(_ANY_HEADING) is not None:
        return _blocks(node, context)
    text = Inline(context, plain=True).children(summary).replace("\n", " ")
    context.skipped.add(summary.mem_id)
    inside = _blocks(node, context)
    return [Block(text, "details", inside=inside)] if text else inside


def _summary(node: LexborNode, context: Context) -> list[Block]:
    if node.css_first(_ANY_HEADING) is not None:
        return _blocks(node, context)
    return _bold(Inline(context).children(node))


_WRITERS: dict[str, Callable[[LexborNode, Context], list[Block]]] = {
    **dict.fromkeys(HEADINGS, _heading),
    **dict.fromkeys(_LISTS, _list),
    **dict.fromkeys(("pre", "listing", "xmp", "plaintext"), _code),
    **dict.fromkeys(("del", "s", "strike"), _deleted),
    "blockquote": _quote,
    "details": _details,
    "dl": _definitions,
    "summary": _summary,
    "table": _table,
}
