"""What flows in the lines of a block: emphasis, links, code, superscripts, the values of a form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import groupby
from urllib.parse import quote

from selectolax.lexbor import LexborNode

from embedder_assets.corpus.extract.html.context import HEADINGS, TEXT, Context, attribute, collapse
from embedder_assets.corpus.extract.html.math import latex

_EMPHASIS = {"b": "**", "strong": "**", "i": "*", "em": "*"}
_CODE = {"code", "tt", "samp", "kbd"}
_DELETED = {"del", "s", "strike"}
_LOST = {"video": "video", "audio": "audio", "iframe": "embedded page", "embed": "embedded object"}
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|re|e|ère|ème|o|a|os|as)\Z")
_TRADEMARKS = {"TM": "™", "SM": "℠", "R": "®", "C": "©"}
_ONE_WORD = re.compile(r"[+\-\u2212\u2013]?[\w.,]+[+\-\u2212\u2013]?|[+\-\u2212\u2013]")
_FOOTNOTE = re.compile(r"foot-?note|noteref|\breference\b|endnote", re.IGNORECASE)
_TICKS = re.compile(r"`+")
_NO_TARGET = re.compile(r"\s*(?:#|javascript:|data:|blob:|about:|tel:|$)", re.IGNORECASE)
_TARGET_MARKUP = re.compile(r"[\s()<>\\]+")
_TINY_PIXELS = 3  # a picture that counts visits
_SPACES = re.compile(r" {2,}")
# The value of a field stands between these; what is in front of it is its label. Text of a page has no NUL.
_VALUE, _VALUE_END = "\0", "\1"
_VALUE_MARKS = re.compile("[\0\1]")
_LABELLED_VALUE = re.compile(r"([\w)])\s*\0")
_EMPTY_LINE = re.compile(r"\n *\n")
_LINE_END = re.compile(r" *\n[ \n]*")


class Inline:
    """The text of elements that flow in lines.

    Args:
        context: The page.
        plain: Without any marks of Markdown, as a heading or a literal needs it.
    """

    def __init__(self, context: Context, *, plain: bool = False) -> None:
        self._context = context
        self._plain = plain

    def line(self, nodes: Iterable[LexborNode]) -> str:
        """The text of some nodes that follow each other, with a line end where the page breaks the line."""
        return _tidy(self._all(nodes))

    def paragraphs(self, nodes: Iterable[LexborNode]) -> list[str]:
        """The same, cut where the page leaves a line empty."""
        return list(filter(None, map(_tidy, _EMPTY_LINE.split(self._all(nodes)))))

    def children(self, node: LexborNode) -> str:
        """The text inside an element."""
        return self.line(self._context.children(node))

    def _all(self, nodes: Iterable[LexborNode]) -> str:
        parts = []
        for mark, group in groupby(nodes, key=lambda node: _EMPHASIS.get(node.tag or "")):
            if mark:
                inner = "".join(self._inner(node) for node in group)
                parts.append(inner if self._plain else _around(inner, mark))
            else:
                parts += [self._one(node) for node in group]
        return "".join(parts)

    def _inner(self, node: LexborNode) -> str:
        return self._all(self._context.children(node))

    def _one(self, node: LexborNode) -> str:
        tag = node.tag or ""
        if tag == TEXT:
            return collapse(node.text_content or "")
        writer = _WRITERS.get(tag)
        if writer is not None:
            return writer(self, node)
        return f" {self._inner(node)} " if self._context.is_block(node) else self._inner(node)

    def _code(self, node: LexborNode) -> str:
        text = Inline(self._context, plain=True).children(node).replace("\n", " ")
        if self._plain or not text:
            return text
        if "math" in attribute(node, "class").split():
            return f"${text}$"
        ticks = "`" * (max(map(len, _TICKS.findall(text)), default=0) + 1)
        space = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{ticks}{space}{text}{space}{ticks}"

    def _deleted(self, node: LexborNode) -> str:
        return _around(self._inner(node), "~~")

    def _quoted(self, node: LexborNode) -> str:
        return _around(self._inner(node), "“", "”")

    def _superscript(self, node: LexborNode) -> str:
        text = self.children(node)
        before = _last_character(node)
        bare = text.strip("[]()")
        if text and (self._is_footnote(node) or text == f"[{bare}]"):
            return f"[{bare}]" if _has_word(text) else ""
        if before.isdigit() and _ORDINAL.fullmatch(text):
            return text
        if before.isalpha() and bare in _TRADEMARKS:
            return _TRADEMARKS[bare]
        if _is_fraction(node, node.next and node.next.next):
            return f" {text}" if before.isdigit() else text
        return _raised("^", text, before, _first_character_after(node)) if _needs_mark(text) else text

    def _subscript(self, node: LexborNode) -> str:
        text = self.children(node)
        before = _last_character(node)
        if _is_fraction(node.prev and node.prev.prev, node):
            return text
        # As chemists write a formula without subscripts: H2O, Ca(OH)2.
        if text.isdigit() and (before.isalpha() or before in ")]"):
            return text
        return _raised("_", text, before, _first_character_after(node)) if _needs_mark(text) else text

    def _is_footnote(self, node: LexborNode) -> bool:
        around = node.parent if node.prev is None and node.next is None else None
        if around is not None and around.tag == "a" and "#" in attribute(around, "href"):
            return True
        names = f"{attribute(node, 'class')} {attribute(node, 'role')}"
        return node.css_first("a[href*='#']") is not None or _FOOTNOTE.search(names) is not None

    def _link(self, node: LexborNode) -> str:
        inner, href = self._inner(node), attribute(node, "href")
        text = inner.strip()
        if node.prev is not None and node.prev.tag == "a":
            inner = f" {inner}"
        if href.startswith("#") and not _has_word(text):
            return ""  # the sign with which a heading links to itself, or a footnote to its mark
        if self._plain or not text or _NO_TARGET.match(href) or text == href or f"[{text}]" == inner:
            return inner
        return _around(inner, "[", f"]({_TARGET_MARKUP.sub(lambda found: quote(found[0]), href)})")

    def _picture(self, node: LexborNode) -> str:
        described = [attribute(node, name) for name in ("alt", "aria-label", "title")]
        text = next(filter(None, described), "")
        if not text and node.attrs.get("alt") is None and not (_is_decoration(node) or _has_caption(node)):
            self._context.omit("image without description", _file_name(attribute(node, "src")))
        return collapse(text)

    def _drawing(self, node: LexborNode) -> str:
        texts = [self._context.text(part) for part in node.css("text, foreignobject")]
        if not texts and node.parent is not None and node.parent.tag not in _ICON_PLACES:
            texts = [attribute(node, "aria-label"), *(self._context.text(part) for part in node.css("title"))]
        return _around(" ".join(dict.fromkeys(filter(None, texts))), " ")

    def _lost(self, node: LexborNode) -> str:
        if not _is_decoration(node):
            sources = [attribute(each, "src") for each in (node, *node.css("source[src]"))]
            source = next(filter(None, sources), "").partition("?")[0]
            self._context.omit(_LOST[node.tag or ""], attribute(node, "title") or source)
        return ""

    def _fallback(self, node: LexborNode) -> str:
        inner = self._inner(node)
        if not inner.strip() and node.css_first("embed") is None:
            self._context.omit("canvas" if node.tag == "canvas" else "embedded object", attribute(node, "data"))
        return inner

    def _math(self, node: LexborNode) -> str:
        formula = latex(node, self._context)
        if formula is None:
            self._context.omit("equation")
            return " "
        return formula

    def _formula_script(self, node: LexborNode) -> str:
        return f"${node.text().strip()}$"

    def _ruby_text(self, node: LexborNode) -> str:
        return _around(self._inner(node), "(", ")")

    def _abbreviation(self, node: LexborNode) -> str:
        inner, title = self._inner(node), collapse(attribute(node, "title"))
        known = self._context.abbreviations
        if self._plain or not title or inner in known or title.casefold() == inner.strip().casefold():
            return inner
        known.add(inner)
        return f"{inner} ({title})"

    def _label(self, node: LexborNode) -> str:
        inner = self._inner(node)
        return inner if inner.endswith(" ") else f"{inner} "

    def _input(self, node: LexborNode) -> str:
        kind, value = attribute(node, "type").lower(), attribute(node, "value")
        if kind in {"checkbox", "radio"}:
            return " [x] " if "checked" in node.attrs else " [ ] "
        if kind == "image":
            return self._picture(node)
        return "" if kind in _VALUELESS else self._value(value)

    def _text_area(self, node: LexborNode) -> str:
        return self._value(node.text())

    def _choice(self, node: LexborNode) -> str:
        options = node.css("option[selected]") or node.css("option")
        return self._value(", ".join(filter(None, (self._context.text(option) for option in options))))

    def _value(self, value: str) -> str:
        text = collapse(value).strip()
        if not text:
            return ""
        return f" {_VALUE}{text} {_VALUE_END}"


def _tidy(text: str) -> str:
    marked = _VALUE_MARKS.sub("", _LABELLED_VALUE.sub(r"\1: ", text))
    return _LINE_END.sub("\n", _SPACES.sub(" ", marked)).strip()


def _is_fraction(above: LexborNode | None, below: LexborNode | None) -> bool:
    """Say whether two elements are the numbers of a fraction: raised, a stroke, lowered."""
    if above is None or below is None or (above.tag, below.tag) != ("sup", "sub") or above.next is None:
        return False
    return collapse(above.next.text()).strip() in {"/", "\u2044"}


def _around(inner: str, mark: str, end: str | None = None) -> str:
    """Put marks around text, with its outer spaces outside of them, since a mark counts only next to a word."""
    core = inner.strip()
    if not core or (len(core) > 2 * len(mark) and end is None and core.startswith(mark) and core.endswith(mark)):
        return inner
    start = inner.index(core)
    return f"{inner[:start]}{mark}{core}{mark if end is None else end}{inner[start + len(core) :]}"


def _raised(mark: str, text: str, before: str, after: str) -> str:
    has_base = before.isalnum() or before in {")", "]"}
    alone = _ONE_WORD.fullmatch(text) and not (has_base and after.isalnum())
    return f"{mark}{text}" if alone else f"{mark}({text})"


def _needs_mark(text: str) -> bool:
    return _has_word(text) or text in _SIGNS


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))


def _last_character(node: LexborNode) -> str:
    """The character in front of an element in its line; empty if there is none."""
    before = node.prev
    while before is None and node.parent is not None and node.parent.tag in _TRANSPARENT:
        node = node.parent
        before = node.prev
    return collapse(before.text())[-1:] if before is not None else ""


def _first_character_after(node: LexborNode) -> str:
    return collapse(node.next.text())[:1] if node.next is not None else ""


def _is_decoration(node: LexborNode) -> bool:
    """Say whether nobody sees it, or nobody is to read it: a pixel that counts visits, a picture next to its text."""
    sizes = [attribute(node, side).removesuffix("px") for side in ("width", "height")]
    tiny = any(size.isdecimal() and int(size) <= _TINY_PIXELS for size in sizes)
    hidden = "display:none" in attribute(node, "style").replace(" ", "") or attribute(node, "aria-hidden") == "true"
    return tiny or hidden or attribute(node, "role") in {"presentation", "none"} or "hidden" in node.attrs


def _has_caption(picture: LexborNode) -> bool:
    above = picture.parent
    while above is not None and above.tag in {"a", "picture", "div"}:
        above = above.parent
    return above is not None and above.tag == "figure" and above.css_first("figcaption") is not None


def _file_name(source: str) -> str:
    return "" if source.startswith("data:") else source.partition("?")[0].rstrip("/").rpartition("/")[2]


_TRANSPARENT = {"span", "label", "a", "b", "i", "em", "strong", "font", "small"}
_ICON_PLACES = {"a", "button", "summary", *HEADINGS}
_SIGNS = {"+", "-", "\u2212", "\u2013", "++", "2+", "2-"}
_VALUELESS = {"hidden", "password", "submit", "reset", "button", "file"}
_WRITERS: dict[str, Callable[[Inline, LexborNode], str]] = {
    **dict.fromkeys(_CODE, Inline._code),
    **dict.fromkeys(_DELETED, Inline._deleted),
    **dict.fromkeys(_LOST, Inline._lost),
    "a": Inline._link,
    "abbr": Inline._abbreviation,
    "acronym": Inline._abbreviation,
    "area": Inline._picture,
    "br": lambda _inline, _node: "\n",
    "canvas": Inline._fallback,
    "img": Inline._picture,
    "input": Inline._input,
    "label": Inline._label,
    "math": Inline._math,
    "object": Inline._fallback,
    "q": Inline._quoted,
    "rp": lambda _inline, _node: "",
    "rt": Inline._ruby_text,
    "script": Inline._formula_script,
    "select": Inline._choice,
    "sub": Inline._subscript,
    "sup": Inline._superscript,
    "svg": Inline._drawing,
    "textarea": Inline._text_area,
}
