"""What the conversion of one page knows of it, and how it walks through the elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from embedder_assets.corpus.document import has_lone_surrogates
from embedder_assets.corpus.extract.extracted import Omission
from embedder_assets.corpus.extract.limits import DocumentLimits, too_deep
from embedder_assets.corpus.extract.plain import lone_surrogate

TEXT = "-text"
HEADINGS = {f"h{level}" for level in range(1, 7)}
INVISIBLE = {"script", "style", "template", "head", "title", "link", "meta", "base", "datalist", "noframes", "-comment"}
# fmt: off
_BLOCKS = {
    *HEADINGS, "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog",
    "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html",
    "legend", "li", "listing", "main", "menu", "nav", "ol", "p", "plaintext", "pre", "search", "section",
    "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "xmp",
}
# fmt: on
# That no other element closes. Beyond so many the parser takes seconds.
_CONTAINERS = (
    "div",
    "section",
    "article",
    "aside",
    "blockquote",
    "center",
    "details",
    "dl",
    "fieldset",
    "figure",
    "main",
    "nav",
    "ol",
    "ul",
)
_MOST_OPEN = 10_000
_SELF_CONTAINED = {"svg", "math", "video", "audio", "select"}  # in a line, whatever is inside
_LINKS = {"a", "button"}
_SPACES = re.compile(r"[ \t\n\r\f\xa0]+")
_SOFT_HYPHEN = "\u00ad"
_MAX_DETAIL_NAMES = 3


@dataclass
class Context:
    """One page.

    Attributes:
        thing: The name of the document for messages.
        limits: What it may cost.
        blocks: Ids of the elements that are blocks or hold one.
        skipped: Ids of the elements that are no content.
        sizes: How many characters that are no spaces an element holds, and how many of them in links and buttons, by
            its id: of blocks, links and buttons.
        omitted: What is left out, by kind of part: a short name for each.
        abbreviations: Those whose long form the text has already.
    """

    thing: str
    limits: DocumentLimits
    blocks: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    omitted: dict[str, list[str]] = field(default_factory=dict)
    abbreviations: set[str] = field(default_factory=set)

    def omit(self, part: str, name: str | None = None) -> None:
        """Counts one part that is not in the text."""
        self.omitted.setdefault(part, []).append(name or "")

    def omissions(self) -> tuple[Omission, ...]:
        """All that was left out."""
        return tuple(Omission(part, len(names), _detail(names)) for part, names in self.omitted.items())

    def children(self, node: LexborNode) -> Iterator[LexborNode]:
        """What is in an element and content."""
        child = node.first_child
        while child is not None:
            if child.mem_id not in self.skipped and (child.tag not in INVISIBLE or _is_formula(child)):
                yield child
            child = child.next

    def is_block(self, node: LexborNode) -> bool:
        """Say whether an element begins a line of its own, or holds one that does."""
        return node.mem_id in self.blocks

    def is_shown(self, node: LexborNode) -> bool:
        """Say whether an element and all around it are content."""
        above: LexborNode | None = node
        while above is not None and above.mem_id not in self.skipped:
            above = above.parent
        return above is None

    def runs(self, node: LexborNode) -> Iterator[list[LexborNode] | LexborNode]:
        """The blocks in an element, and between them what flows in lines."""
        line: list[LexborNode] = []
        for child in self.children(node):
            if not self.is_block(child):
                line.append(child)
                continue
            if line:
                yield line
                line = []
            yield child
        if line:
            yield line

    def size(self, node: LexborNode) -> tuple[int, int]:
        """Characters in a block, a link or a button, and how many of them in links and buttons."""
        return self.sizes.get(node.mem_id, (0, 0))

    def text(self, node: LexborNode) -> str:
        """The text in an element, as one line."""
        parts: list[str] = []
        self._collect(node, parts)
        return " ".join("".join(parts).split())

    def _collect(self, node: LexborNode, parts: list[str]) -> None:
        if node.tag == TEXT:
            parts.append(collapse(node.text_content or ""))
            return
        apart = " " if node.tag in _BLOCKS or node.tag == "br" else ""
        parts.append(apart)
        for child in self.children(node):
            self._collect(child, parts)
        parts.append(apart)


def parse(html: str, thing: str, limits: DocumentLimits) -> tuple[LexborHTMLParser, Context]:
    """Parse a page as browsers do.

    Raises:
        DocumentError: With kind ``too_deep``, since the conversion calls itself for each level, or ``not_utf8``.
    """
    if has_lone_surrogates(html):
        raise lone_surrogate(thing)
    _refuse_unclosed(html, thing, limits)
    tree = LexborHTMLParser(html)
    context = Context(thing, limits)
    _measure(tree.root, context)
    return tree, context


def _refuse_unclosed(html: str, thing: str, limits: DocumentLimits) -> None:
    """Before the parser sees it: its time grows with the square of how deep blocks lie in each other."""
    page = html.lower()
    for tag in _CONTAINERS:
        if page.count(f"<{tag}") <= _MOST_OPEN:
            continue
        depth = 0
        for found in re.finditer(f"<(/?){tag}", page):
            depth = depth + 1 if not found[1] else max(depth - 1, 0)
            if depth > _MOST_OPEN:
                raise too_deep(thing, limits.nesting, f"more than {_MOST_OPEN:,} <{tag}> that are open at once")


def _measure(root: LexborNode | None, context: Context) -> None:
    """Look once at each node: how deep it lies, whether it is a block, how much text it holds."""
    node, above = root, list[tuple[LexborNode, int, int]]()
    chars = link_chars = links = 0
    while node is not None:
        tag = node.tag
        if tag == TEXT and (not above or above[-1][0].tag not in INVISIBLE):
            length = len("".join((node.text_content or "").split()))
            chars, link_chars = chars + length, link_chars + (length if links else 0)
        if tag in _BLOCKS:
            _mark(node, context.blocks)
        inner = node.first_child
        if inner is not None:
            above.append((node, chars, link_chars))
            links += tag in _LINKS
            if len(above) > context.limits.nesting + 1:
                raise too_deep(context.thing, context.limits.nesting, "more elements in each other")
            node = inner
            continue
        while node.next is None and above:
            node, chars_before, link_chars_before = above.pop()
            links -= node.tag in _LINKS
            if node.tag in _LINKS or node.mem_id in context.blocks:
                context.sizes[node.mem_id] = chars - chars_before, link_chars - link_chars_before
        node = node.next


def collapse(text: str) -> str:
    """Text as a browser shows it: each run of spaces and line ends is one space."""
    return _SPACES.sub(" ", text.replace(_SOFT_HYPHEN, ""))


def attribute(node: LexborNode, name: str) -> str:
    """An attribute of an element, empty where it has none."""
    return (node.attrs.get(name) or "").strip()


def _is_formula(node: LexborNode) -> bool:
    return node.tag == "script" and attribute(node, "type").startswith("math/tex")  # MathJax 2


def _mark(node: LexborNode | None, blocks: set[int]) -> None:
    while node is not None and node.tag not in _SELF_CONTAINED and node.mem_id not in blocks:
        blocks.add(node.mem_id)
        node = node.parent


def _detail(names: list[str]) -> str:
    known = list(dict.fromkeys(name[:80] for name in names if name))
    more = ", …" if len(known) > _MAX_DETAIL_NAMES else ""
    return f"{', '.join(known[:_MAX_DETAIL_NAMES])}{more}."[:300] if known else ""
