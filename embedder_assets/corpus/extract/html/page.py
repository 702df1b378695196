"""From the bytes of a page to Markdown; and from HTML that another format was converted to."""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser, LexborNode

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html.blocks import markdown_of
from embedder_assets.corpus.extract.html.boilerplate import NAVIGATION, find_boilerplate, main_part
from embedder_assets.corpus.extract.html.context import attribute, parse
from embedder_assets.corpus.extract.html.encoding import decode_page
from embedder_assets.corpus.extract.html.metadata import page_metadata, page_title
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.errors import DocumentError


def extract_html(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn the content of a page into Markdown.

    Raises:
        DocumentError: With kind ``too_deep``, ``too_long``, ``binary``, ``not_utf8`` or ``no_text``.
    """
    html, undecodable = decode_page(data, thing)
    tree, context = parse(html, thing, limits)
    find_boilerplate(tree, context)
    for component in tree.css("template[shadowrootmode]"):
        context.omit("shadow root", component.parent.tag if component.parent is not None else None)
    main = main_part(tree, context)
    title, heading = page_title(tree, main, context)
    # A title that stands in front of the main part belongs to the text, with what stands next to it.
    parts = [_with_header(heading)] if heading is not None and not _holds(main, heading) else []
    texts = [markdown_of(part, context) for part in [*parts, main] if part is not None]
    text = "\n\n".join(filter(None, texts))
    if not text and _is_built_by_scripts(tree):
        raise _no_text(thing)
    return Extracted(f"{text}\n", title, page_metadata(tree), (*undecodable, *context.omissions()))


def markdown_of_html(html: str, thing: str, limits: DocumentLimits) -> str:
    """Turn HTML that another format was converted to into Markdown."""
    return convert_html(html, thing, limits).text


def convert_html(html: str, thing: str, limits: DocumentLimits) -> Extracted:
    """The same, with what is not in the text."""
    tree, context = parse(html, thing, limits)
    context.skipped.update(node.mem_id for node in tree.css(f"{NAVIGATION}, button"))
    text = markdown_of(tree.body, context) if tree.body is not None else ""
    return Extracted(f"{text}\n", omissions=context.omissions())


def _with_header(heading: LexborNode) -> LexborNode:
    """The header that a heading is the title of; the heading itself where it stands alone."""
    header, above = heading, heading.parent
    while above is not None and above.css_first("main, [role=main], article") is None and above.tag != "body":
        header = above if above.tag in {"header", "hgroup"} else header
        above = above.parent
    return header


def _holds(outer: LexborNode | None, node: LexborNode) -> bool:
    above: LexborNode | None = node
    while above is not None and (outer is None or above.mem_id != outer.mem_id):
        above = above.parent
    return above is not None


def _is_built_by_scripts(tree: LexborHTMLParser) -> bool:
    return any(attribute(script, "type") in {"", "module", "text/javascript"} for script in tree.css("script"))


def _no_text(thing: str) -> DocumentError:
    return DocumentError(
        thing,
        kind="no_text",
        expected="text in the page itself",
        got="a page that its scripts build when it is opened",
        remedy="Open it in a browser, and save what it shows there, for example by printing it to a PDF.",
    )
