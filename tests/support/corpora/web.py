"""Pages, and what their extraction gives, without a process of its own."""

from __future__ import annotations

from embedder_assets.corpus.extract import DocumentLimits
from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html import extract_html
from embedder_assets.settings import load_settings

LIMITS = DocumentLimits.of(load_settings({}, environ={}))


def page(html: str | bytes) -> Extracted:
    """What a page gives."""
    return extract_html(html if isinstance(html, bytes) else html.encode(), "kb/a.html", LIMITS)


def text(body: str) -> str:
    """The Markdown of a page with that body, without its last line end."""
    return page(f"<!doctype html><title>T</title><body>{body}").text.rstrip("\n")


def omitted(body: str) -> dict[str, int]:
    """How many of each kind of part are not in the text of a page."""
    return {each.part: each.count for each in page(f"<!doctype html><title>T</title><body><p>x</p>{body}").omissions}
