"""Markdown, taken as it is but for its front matter."""

from __future__ import annotations

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.markup.front_matter import read_front_matter
from embedder_assets.corpus.extract.plain import decode, empty


def extract_markdown(data: bytes, thing: str, _limits: DocumentLimits) -> Extracted:
    """Take a Markdown file as it is; its front matter says what it is, and is not in the text.

    Raises:
        DocumentError: With kind ``binary``, ``not_utf8``, or ``empty`` where there is nothing but front matter.
    """
    source = decode(data, thing).replace("\r\n", "\n").replace("\r", "\n")
    found = read_front_matter(source)
    if source.strip() and not found.text.strip():
        raise empty(thing, "nothing but front matter")
    return Extracted(found.text, found.title, found.fields, found.omissions)
