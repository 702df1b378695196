"""HTML to Markdown, without what surrounds the content of a page."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits, too_deep
from embedder_assets.corpus.extract.plain import decode

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_NOISE = (
    "script, style, noscript, template, nav, footer, iframe, svg, canvas, object, head, button, select, input, "
    "textarea, [role=navigation], [role=search], [aria-hidden=true], a.headerlink"
)
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def extract_html(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a page into Markdown; its title is its ``<title>`` where it has no heading.

    Raises:
        DocumentError: With kind ``too_deep``, ``binary`` or ``not_utf8``.
    """
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    soup = _parse(decode(data, thing, declared), thing, limits.nesting)
    page_title = " ".join(soup.title.get_text().split()) if soup.title else ""
    has_heading = soup.find(_HEADINGS) is not None
    return Extracted(_markdown(soup), "" if has_heading else page_title)


def markdown_of_html(html: str, thing: str, limits: DocumentLimits) -> str:
    """Turn HTML that another format was converted to into Markdown."""
    return _markdown(_parse(html, thing, limits.nesting))


def _parse(html: str, thing: str, deepest: int) -> BeautifulSoup:
    import bs4

    with warnings.catch_warnings():
        # XHTML and odd content read well enough; the hints are for programmers and would go to stderr.
        warnings.simplefilter("ignore")
        soup = bs4.BeautifulSoup(html, "html.parser")
    _refuse_deep(soup, thing, deepest)
    return soup


def _refuse_deep(soup: BeautifulSoup, thing: str, limit: int) -> None:
    """The conversion to Markdown calls itself for each level."""
    depth = {id(soup): 0}
    for tag in soup.find_all(True):
        depth[id(tag)] = depth[id(tag.parent)] + 1
        if depth[id(tag)] > limit:
            raise too_deep(thing, limit, "more elements in each other")


def _markdown(soup: BeautifulSoup) -> str:
    from markdownify import ATX, MarkdownConverter

    for noise in soup.select(_NOISE):
        noise.decompose()
    for image in soup.find_all("img"):
        image.replace_with(str(image.get("alt") or ""))
    for link in soup.select('a[href^="#"], a:not([href])'):
        link.unwrap()
    # Escapes would only be noise to a model.
    converter = MarkdownConverter(
        heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False, escape_misc=False
    )
    text: str = converter.convert_soup(_content(soup))
    return _BLANK_LINES.sub("\n\n", text).strip() + "\n"


def _content(soup: BeautifulSoup) -> BeautifulSoup | Tag:
    main = soup.find("main")
    return main if main is not None and main.get_text(strip=True) else soup
