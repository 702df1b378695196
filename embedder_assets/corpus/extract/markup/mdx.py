"""MDX: Markdown with JSX. Its imports, exports and comments are no text; what stands inside and in components is.

The rules are those of https://mdxjs.com/docs/what-is-mdx/: there is no HTML in it, so ``<`` begins a tag.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.markup.markdown import extract_markdown

_FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})")
_MODULE = re.compile(
    r"(import)\s+(?:[\w*${},\s]{1,2000}?\bfrom\s*)?['\"]|(export)\s+(?:const|let|var|function|async|class|default|\{|\*)"
)
_STRING = re.compile(r"\{\s*(?:\"([^\"{}\n]*)\"|'([^'{}\n]*)'|`([^`{}]*)`)\s*\}")
_CODE_OR_COMMENT = re.compile(r"(?P<code>(`+)(?!`)[^\n]{0,2000}?(?<!`)\2(?!`))|\{\s{0,20}/\*")
_COMMENT_END = re.compile(r"\*/\s*\}")
_TAG = re.compile(r"</?(?:[A-Za-z][\w.:-]*(?=[\s/>])|(?=>))")
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\{\s*)?(?:\"([^\"]*)\"|'([^']*)'|`([^`]*)`)")
# Attributes that people read.
_WORDS = re.compile(
    "title|subtitle|label|alt|caption|summary|description|heading|header|question|answer|term|text|tip|content"
)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_MAX_TAG_CHARS = 20_000
_MAX_UNCLOSED = 200  # a text with more of them has no tags


def extract_mdx(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Take the Markdown of an MDX file, without its JavaScript.

    Raises:
        DocumentError: As ``extract_markdown``.
    """
    found = extract_markdown(data, thing, limits)
    left_out: Counter[str] = Counter()
    prose, code = _without_modules(found.text, left_out)
    parts = [part if is_code else _without_jsx(part) for part, is_code in zip(prose, code, strict=True)]
    exports = (Omission("export", left_out["export"], "JavaScript."),) if left_out["export"] else ()
    return replace(found, text="".join(parts), omissions=(*found.omissions, *exports))


def _without_modules(text: str, left_out: Counter[str]) -> tuple[list[str], list[bool]]:
    """The text in stretches that are code in fences or not, without imports and exports, which end at a blank line."""
    parts, is_code = [""], [False]
    fence, module, depth, blank, end = "", False, 0, True, 0
    for line in text.splitlines(keepends=True):
        start, end = end, end + len(line)
        mark = _FENCE.match(line)
        if fence:
            parts[-1] += line
            if mark and mark[1].startswith(fence) and not line.strip(" \t>`~\n"):
                fence = ""
                parts.append("")
                is_code.append(False)
        elif module and (line.strip() or depth > 0):
            depth += _depth(line)
        elif mark:
            fence, module = mark[1], False
            parts.append(line)
            is_code.append(True)
        elif (found := _MODULE.match(text, start)) and (blank or module):
            module, depth = True, _depth(line)
            left_out[found[1] or found[2]] += 1
        else:
            module = False
            parts[-1] += line
        blank = not line.strip()
    return parts, is_code


def _depth(line: str) -> int:
    return sum(map(line.count, "{[(")) - sum(map(line.count, "}])"))


def _without_jsx(text: str) -> str:
    parts, done = [], 0
    for found in _CODE_OR_COMMENT.finditer(text):
        if found.start() < done:
            continue
        end = found.end()
        if not found["code"]:
            closing = _COMMENT_END.search(text, end)
            if not closing:
                break
            end = closing.end()
        parts += [_without_tags(text[done : found.start()]), found["code"] or ""]
        done = end
    return _BLANK_LINES.sub("\n\n", "".join([*parts, _without_tags(text[done:])]))


def _without_tags(text: str) -> str:
    text = _STRING.sub(lambda string: string[1] or string[2] or string[3] or "", text)
    parts, done, unclosed = [], 0, 0
    for tag in _TAG.finditer(text):
        if tag.start() < done:
            continue
        end = _end_of_tag(text, tag.end())
        unclosed += not end
        if unclosed > _MAX_UNCLOSED:
            break
        if not end:
            continue
        spoken = [
            words for name, *values in _ATTRIBUTE.findall(text[tag.end() : end]) if (words := _spoken(name, values))
        ]
        space = " " if spoken and text[end : end + 1].strip() else ""
        parts += [text[done : tag.start()], " ".join(spoken), space]
        done = end
    return "".join([*parts, text[done:]])


def _end_of_tag(text: str, start: int) -> int:
    """The offset behind the ``>`` of a tag, which may have quotes and braces in it; 0 where there is none."""
    quote, depth = "", 0
    for offset in range(start, min(start + _MAX_TAG_CHARS, len(text))):
        sign = text[offset]
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'`":
            quote = sign
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
        elif sign == ">" and depth == 0:
            return offset + 1
        elif sign == "<" and depth == 0:
            return 0
    return 0


def _spoken(name: str, values: list[str]) -> str:
    words = next(filter(None, values), "")
    return words if _WORDS.fullmatch(name) else ""
