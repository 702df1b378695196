"""AsciiDoc to Markdown, line by line: what is not recognised stays as it is, so no text is lost.

The names are those of https://docs.asciidoctor.org/asciidoc/latest/. Emphasis and code are written as in Markdown.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from embedder_assets.corpus.extract.extracted import Extracted, Omission, Value, keyword_list
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.markup.asciidoc_table import table_of_lines
from embedder_assets.corpus.extract.plain import decode

_ATTRIBUTE = re.compile(r":(!?[\w-]+!?):(?:[ \t]+(.*))?$")
_AUTHOR = re.compile(r"([^\W\d_][^<>:;{}|\n]{0,100}?)(?:[ \t]+<([^>\n]*)>)?(?:;.*)?$")
_REVISION = re.compile(r"(?:v?(\d[\w.-]{0,40}),?[ \t]*)?([^:,\n]{0,40}\d[^:,\n]{0,40})?(?::[ \t]*(.*))?$")
_SECTION = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*?)(?:[ \t]+\1)?$")
_UNDERLINE = re.compile(r"([=~^+-])\1{3,}$")
_LEVELS = "=-~^+"
_VERBATIM = re.compile(r"(-{4,}|\.{4,}|\+{4,}|`{3,})(\w*)$")
_CONTAINER = re.compile(r"(?:={4,}|\*{4,}|_{4,}|--)$")
_TABLE = re.compile(r"([|,:!])={3,}$")
_BLOCK_ATTRIBUTES = re.compile(r"\[(?!\[)([^\]\n]*)\]$")
_ANCHOR = re.compile(r"\[\[[^\]\n]*\]\]$")
_TITLE = re.compile(r"\.(?![ .\n])(\S.*)$")
_BULLET = re.compile(r"[ \t]*(\*{1,6}|-)[ \t]+(\S.*)$")
_NUMBER = re.compile(r"[ \t]*(\.{1,6})[ \t]+(\S.*)$")
_TERM = re.compile(r"[ \t]*(\S.*?)(?::{2,4}|;;)(?:[ \t]+(.*))?$")
_ADMONITION = re.compile(r"(NOTE|TIP|IMPORTANT|WARNING|CAUTION):[ \t]+(.*)$")
_LABEL = re.compile(r"(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\b")
_MACRO = re.compile(r"(\w+)::([^\[\]\n]*)\[(.*)\]$")
_RULE = re.compile(r"(?:'{3,}|<{3,}|-{3}|\*{3})$")

_REFERENCE = re.compile(r"\{([\w-]+)\}")
_INLINE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"<<([^,<>\n]*)(?:,([^<>\n]*))?>>"), lambda m: m[2] or m[1].lstrip("#")),
    (
        re.compile(r"\[\[[^\[\]\n]*\]\]|\(\(\([^()\n]*\)\)\)|\b(?:indexterm:|icon:[\w-]+)\[[^\[\]\n]{0,999}\]"),
        lambda _: "",
    ),
    (re.compile(r"\(\(([^()\n]+)\)\)"), lambda m: m[1]),
    (re.compile(r"\bxref:([^\s\[\]]{0,2000})\[([^\[\]\n]{0,999})\]"), lambda m: m[2] or m[1]),
    (
        re.compile(
            r"(?:\blink:([^\s\[\]]{1,2000})|\b((?:https?|ftp|mailto):[^\s\[\]<>]{1,2000}))\[([^\[\]\n]{0,999})\]"
        ),
        lambda m: _link(m[3], m[1] or m[2]),
    ),
    (re.compile(r"\b(?:image|kbd|btn|pass):[^\s\[\]]*\[([^\[\]\n]{0,999})\]"), lambda m: _first(m[1])),
    (re.compile(r"[ \t]*\bfootnote:[\w-]*\[((?:[^\[\]\n]|\[[^\[\]\n]{0,300}\]){0,999})\]"), lambda m: f" ({m[1]})"),
    (re.compile(r"\bmenu:([^\[\]\n]{1,200})\[([^\[\]\n]{0,999})\]"), lambda m: " > ".join(filter(None, m.groups()))),
    (re.compile(r"\b(?:stem|latexmath|asciimath):\[([^\[\]\n]{0,9999})\]"), lambda m: f"${m[1]}$"),
    (re.compile(r"(?:\[[^\[\]\n]*\])?(?<![\w#&])##?([^\s#](?:[^#\n]*[^\s#])?)##?(?!\w)"), lambda m: m[1]),
    (re.compile(r"`\+([^`\n]+)\+`"), lambda m: f"`{m[1]}`"),
    (re.compile(r"(?<![\w+`])\+(\S[^+\n]*)\+(?![\w+`])"), lambda m: m[1]),
    (re.compile(r"([\"'])`([^`\n]+)`\1"), lambda m: f"{m[1]}{m[2]}{m[1]}"),
    (re.compile(r"[ \t]\+$"), lambda _: ""),
)


def extract_asciidoc(data: bytes, thing: str, _limits: DocumentLimits) -> Extracted:
    """Turn AsciiDoc into Markdown; the attributes of its header are its metadata.

    Raises:
        DocumentError: With kind ``binary`` or ``not_utf8``.
    """
    source = decode(data, thing).replace("\r\n", "\n").replace("\r", "\n")
    converter = _Converter([line.rstrip() for line in source.split("\n")])
    text = "\n".join(converter.blocks())
    omissions = tuple(
        Omission(part, len(found), "; ".join(found[:3])) for part, found in sorted(converter.omitted.items())
    )
    title = str(converter.metadata.pop("title", ""))
    return Extracted(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", title, converter.metadata, omissions)


@dataclass
class _Converter:
    """Reads the lines of a document, one block after the other."""

    lines: list[str]
    at: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Value] = field(default_factory=dict)
    omitted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    style: str = ""
    containers: set[str] = field(default_factory=set)

    def blocks(self) -> Iterator[str]:
        """The lines of Markdown."""
        self._skip_comments()
        yield from self._header()
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            yield from self._block(line)

    def _header(self) -> Iterator[str]:
        """The title, author, revision and attributes at the top, which end at a blank line."""
        first = self._line()
        if (title := _SECTION.match(first)) and len(title[1]) == 1:
            self.at += 1
            yield f"# {self.inline(title[2])}"
            yield ""
            self._authors()
        while line := self._line():
            attribute = _ATTRIBUTE.match(line)
            if not attribute and not line.startswith("//"):
                break
            self.at += 1
            if attribute:
                self._set(attribute, header=True)
            else:
                self._is_comment(line)

    def _authors(self) -> None:
        if (author := _AUTHOR.match(self._line())) and not self._line().startswith("//"):
            self.metadata["author"] = author[1]
            self.at += 1
            revision = _REVISION.match(self._line())
            if revision and any(revision.groups()) and not self._line().startswith(":"):
                named = zip(("revnumber", "revdate", "revremark"), revision.groups(), strict=True)
                self.metadata |= {name: value.strip() for name, value in named if value}
                self.at += 1

    def _block(self, line: str) -> Iterator[str]:
        if self._is_comment(line) or _ANCHOR.match(line) or _RULE.match(line):
            return
        if _CONTAINER.match(line):
            self.containers ^= {line}  # opened, or closed
            yield ""
        elif attribute := _ATTRIBUTE.match(line):
            self._set(attribute)
        elif attributes := _BLOCK_ATTRIBUTES.match(line):
            yield from self._block_attributes(attributes[1])
        elif verbatim := _VERBATIM.match(line):
            yield from self._verbatim(verbatim)
        elif table := _TABLE.match(line):
            yield from ["", table_of_lines(self._until(line), table[1], self.style, self.inline), ""]
            self.style = ""
        elif macro := _MACRO.match(line):
            yield from self._macro(macro)
        elif line in ("", "+"):
            yield ""
        else:
            yield from self._text(line)

    def _text(self, line: str) -> Iterator[str]:
        underline = _UNDERLINE.match(self._line())
        if section := _SECTION.match(line):
            yield from ["", f"{'#' * len(section[1])} {self.inline(section[2])}", ""]
        elif underline and self._is_underlined(line):
            self.at += 1
            yield from ["", f"{'#' * (_LEVELS.index(underline[1]) + 1)} {self.inline(line)}", ""]
        elif title := _TITLE.match(line):
            yield from ["", f"**{self.inline(title[1])}**", ""]
        elif admonition := _ADMONITION.match(line):
            yield from ["", f"**{admonition[1].capitalize()}**: {self.inline(admonition[2])}"]
        elif bullet := _BULLET.match(line):
            yield f"{'  ' * (len(bullet[1]) - 1)}- {self.inline(bullet[2])}"
        elif number := _NUMBER.match(line):
            yield f"{'   ' * (len(number[1]) - 1)}1. {self.inline(number[2])}"
        elif term := _TERM.match(line):
            yield from ["", f"**{self.inline(term[1])}**: {self.inline(term[2] or '')}".rstrip()]
        else:
            yield self.inline(line)

    def _is_underlined(self, line: str) -> bool:
        below = self._line()
        return abs(len(below) - len(line)) <= 1 and below not in self.containers and not self._above().strip()

    def _block_attributes(self, attributes: str) -> Iterator[str]:
        """What stands in brackets above a block: its kind, of which some have words."""
        self.style = attributes
        style, *rest = [part.strip(" \"'") for part in attributes.split(",")]
        if label := _LABEL.match(style):
            yield from ["", f"**{label[1].capitalize()}**", ""]
        elif style in ("quote", "verse") and rest:
            yield from ["", f"{', '.join(rest)}:", ""]

    def _verbatim(self, opening: re.Match[str]) -> Iterator[str]:
        content = self._until(opening.group() if opening[1][0] != "`" else opening[1])
        parts = [part.strip() for part in self.style.split(",")]
        language = opening[2] or (parts[1] if parts[0].partition("%")[0] in ("source", "") and len(parts) > 1 else "")
        self.style = ""
        if opening[1][0] == "+":  # passed on as it is
            yield from content
            return
        fence = "```" if not any("```" in line for line in content) else "~~~~"
        yield from ["", f"{fence}{language if language.isalnum() else ''}"]
        for line in content:
            if (include := _MACRO.match(line)) and include[1] == "include":
                self.omitted["included file"].append(include[2])
            else:
                yield line
        yield from [fence, ""]

    def _macro(self, macro: re.Match[str]) -> Iterator[str]:
        name, target, content = macro.groups()
        if name == "include":
            self.omitted["included file"].append(self.inline(target))
        elif name in ("ifdef", "ifndef"):
            yield self.inline(content)
        elif name in ("image", "video", "audio"):
            yield from ["", self.inline(_first(content)), ""]
        elif name not in ("endif", "ifeval", "toc", "indexterm"):
            yield self.inline(macro.group())

    def _set(self, attribute: re.Match[str], *, header: bool = False) -> None:
        value = attribute[2] or ""
        while value.endswith((" \\", " +")):
            value = f"{value[:-2].rstrip()} {self._line().strip()}"
            self.at += 1
        name = attribute[1].lower()
        self.attributes[name] = value = self.inline(value)
        if header and value and "!" not in name:
            self.metadata[name] = keyword_list(value) if name == "keywords" else value

    def _until(self, closing: str) -> list[str]:
        """The lines up to one that closes a block, or to the end of the document."""
        start = self.at
        while self.at < len(self.lines) and self.lines[self.at] != closing:
            self.at += 1
        self.at += 1
        return self.lines[start : self.at - 1]

    def _is_comment(self, line: str) -> bool:
        if not line.startswith("//") or (line.startswith("///") and line.strip("/")):
            return False
        is_block = len(line) > 3 and not line.strip("/")
        words = " ".join(self._until(line)) if is_block else line.strip("/ ")
        if words.strip():
            self.omitted["comment"].append(words.strip()[:80])
        return True

    def _skip_comments(self) -> None:
        while self.at < len(self.lines) and (not self._line() or self._line().startswith("//")):
            line = self._line()
            self.at += 1
            self._is_comment(line)

    def _line(self) -> str:
        return self.lines[self.at] if self.at < len(self.lines) else ""

    def _above(self) -> str:
        return self.lines[self.at - 2] if self.at > 1 else ""

    def inline(self, text: str) -> str:
        """Text with its attributes filled in, and its macros as what a reader sees of them."""
        text = _REFERENCE.sub(lambda name: self.attributes.get(name[1].lower(), name.group()), text)
        for pattern, seen in _INLINE:
            text = pattern.sub(seen, text)
        return text


def _first(attributes: str) -> str:
    """The first attribute of a macro: what a picture shows, or a key."""
    quoted = re.match(r"\s*\"([^\"]*)\"", attributes)
    return quoted[1] if quoted else attributes.partition(",")[0].strip()


def _link(words: str, address: str) -> str:
    words = words.partition(",window=")[0].removesuffix("^")
    return f"[{words}]({address})" if words else address
