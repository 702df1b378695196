"""Rich Text Format (RTF) through xberg, after a look that drops what is no part of the text and names it.

Groups and control words are those of the RTF specification 1.9.1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from embedder_assets.corpus.extract.extracted import Extracted, Omission, Value
from embedder_assets.corpus.extract.limits import DocumentLimits, too_deep
from embedder_assets.corpus.extract.office.package import unreadable_office
from embedder_assets.corpus.extract.office.properties import iso_time, stated_title
from embedder_assets.corpus.extract.xberg_reader import read_with_xberg

_MEDIA_TYPE = "application/rtf"
_TOKEN = re.compile(rb"\\([a-zA-Z]+)(-?\d+)? ?|\\'[0-9a-fA-F]{2}|\\[^a-zA-Z]|[{}]|[^\\{}]+", re.DOTALL)
# Groups that are left out whole, and what each is; nothing is named of those that are furniture of the file.
_DROPPED = {
    **dict.fromkeys((b"header", b"headerl", b"headerr", b"headerf"), "page header"),
    **dict.fromkeys((b"footer", b"footerl", b"footerr", b"footerf"), "page footer"),
    b"annotation": "comment",
    b"pict": "image without description",
    b"objdata": "embedded file",
    b"mmath": "equation",
    **dict.fromkeys((b"atnid", b"atnauthor", b"atndate", b"atnref", b"nonshppict"), ""),
}
_HIDDEN = {b"v": "hidden text", b"deleted": "deletion"}
# What xberg, whose lists have other marks, lets stand at the beginning of a paragraph.
_UNESCAPED = re.compile(r"^(\d+(?=\) )|(?=\* |=+$))", re.MULTILINE)
_NO_WORD = re.compile(rb"[\W\d_]*", re.ASCII)


def extract_rtf(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn an RTF document into Markdown, without its images.

    Raises:
        DocumentError: With kind ``unreadable_office`` or ``too_deep``.
    """
    if not data.lstrip().startswith(b"{\\rtf"):
        raise unreadable_office(thing, "a file that does not begin as RTF does", expected="an RTF document")
    rewriter = _Rewriter(thing, limits.nesting)
    document = read_with_xberg(b"".join(rewriter.rewrite(data)), _MEDIA_TYPE, thing, limits)
    stated = document.metadata
    metadata: dict[str, Value] = {}
    for field, value in (("created", stated.created_at), ("modified", stated.modified_at)):
        if value:
            metadata[field] = iso_time(value)
    if stated.authors:
        metadata["author"] = "; ".join(stated.authors)
    if stated.subject:
        metadata["description"] = stated.subject
    if stated.keywords:
        metadata["keywords"] = list(stated.keywords)
    omissions = tuple(Omission(part, number) for part, number in (+rewriter.left_out).items())
    text = _UNESCAPED.sub(r"\1\\", document.content)
    return Extracted(text, stated_title(stated.title or ""), metadata, omissions)


class _Rewriter:
    """Copies an RTF file without the groups that are dropped, and marks what is raised.

    Attributes:
        left_out: How many of which part are not copied.
    """

    def __init__(self, thing: str, deepest: int) -> None:
        self.left_out: Counter[str] = Counter()
        self._thing = thing
        self._deepest = deepest
        self._hidden = [""]  # for each open group, what its text is if it is not shown
        self._dropped_level = 0  # of the open group that is dropped; 0 for none
        self._dropped_part = ""
        self._dropped_text = b""
        self._is_raised = False  # and has no mark yet

    def rewrite(self, data: bytes) -> Iterator[bytes]:
        """The tokens that stay."""
        at = 0
        while token := _TOKEN.match(data, at):
            at = token.end()
            if token[0] == b"{":
                self._open()
            elif token[0] == b"}":
                self._close()
            elif token[1] == b"bin":
                at += max(0, int(token[2] or 0))  # bytes of any kind
                continue
            elif token[1]:
                self._obey(token[1], is_on=token[2] != b"0")
                if token[1].startswith(b"ul"):
                    continue  # xberg writes marks for underlines, which Markdown has none of
            else:
                yield from self._text(token[0])
                continue
            if not self._dropped_level:
                yield token[0]

    def _open(self) -> None:
        self._hidden.append(self._hidden[-1])
        if len(self._hidden) > self._deepest:
            raise too_deep(self._thing, self._deepest, "more groups in each other")

    def _close(self) -> None:
        self._is_raised = False
        self._hidden = self._hidden[:-1] or [""]
        if len(self._hidden) >= self._dropped_level:
            return
        part, self._dropped_level = self._dropped_part, 0
        if part and not (part.startswith("page") and _NO_WORD.fullmatch(self._dropped_text)):
            self.left_out[part] += 1

    def _obey(self, word: bytes, *, is_on: bool) -> None:
        if self._dropped_level:
            return
        if word in _DROPPED:
            self._dropped_level, self._dropped_part, self._dropped_text = len(self._hidden), _DROPPED[word], b""
        elif word in _HIDDEN:
            self._hidden[-1] = _HIDDEN[word] if is_on else ""
            self.left_out[_HIDDEN[word]] += is_on
        elif word in {b"plain", b"super", b"nosupersub"}:
            self._is_raised = word == b"super" and is_on
            self._hidden[-1] = "" if word == b"plain" else self._hidden[-1]

    def _text(self, text: bytes) -> Iterator[bytes]:
        if self._dropped_level:
            self._dropped_text += text if text[:1] != b"\\" else b""
        elif not self._hidden[-1]:
            if self._is_raised and text.strip():
                yield b"^"
                self._is_raised = False
            yield _REPLACED.get(text, text)


_REPLACED = {b"\\_": b"-"}  # a hyphen that does not break
