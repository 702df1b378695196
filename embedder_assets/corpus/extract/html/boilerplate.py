"""What surrounds the content of a page: navigation, consent dialogs, newsletter boxes, lists of links to elsewhere.

A part that may be content stays: the rules ask for what the part is called and for what it holds.
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from embedder_assets.corpus.extract.html.context import HEADINGS, Context, attribute

NAVIGATION = "nav, search, [role=navigation], [role=search], [role=menubar], a.headerlink, a.anchorjs-link"
_COPIES = "td.linenos, span.linenos, span.lineno, td.gutter, td.rouge-gutter, img[class*=mwe-math-fallback]"
_DIALOG_ROLES = {"dialog", "alertdialog"}
_CONTROLS = "button, [role=button], input, a[class*=btn], a[class*=button], a[class*=accept], a:not([href])"
_PAGE_PARTS = {"html", "head", "body", "main", "article"}
_ANY_HEADING = ", ".join(sorted(HEADINGS))
_CONSENT = re.compile(r"cookie|consent|gdpr|onetrust|didomi|usercentrics|trustarc", re.IGNORECASE)
_COOKIES = re.compile(r"cookie|gdpr|dsgvo|rgpd|trackers", re.IGNORECASE)
_NEWSLETTER = re.compile(r"newsletter|subscri|sign-?up|mailing-?list", re.IGNORECASE)
_SHARE = re.compile(r"\b(?:share|sharing|social|addthis|sharedaddy)", re.IGNORECASE)
_LINK_LIST = re.compile(
    r"\bnav|breadcrumb|related|recommend|read-?next|more-?(?:stories|posts|articles)|trending|pagination|\bpager|prev-?next|"
    r"side-?(?:bar|nav)|\btoc\b|table-of-contents|top-?bar|\bmenu|footer|tag-?(?:list|cloud)",
    re.IGNORECASE,
)
_SKIP_LINK = re.compile(r"\bskip", re.IGNORECASE)
_ENABLE_SCRIPTS = re.compile(r"java\s?script", re.IGNORECASE)
_TOGGLES = ("aria-expanded", "aria-controls", "data-toggle", "data-bs-toggle", "data-target", "data-bs-target")
_TOGGLE = re.compile(r"accordion|collaps|expand|toggle|faq|question|\btab\b", re.IGNORECASE)
_TOOL = re.compile(r"\bnav|menu|hamburger|copy|clipboard|close|dismiss|share|search|theme", re.IGNORECASE)
_TITLED = {"summary", "dt", "label", "legend", "th", "td", *HEADINGS}
_LINK_SHARE = 0.6  # of the characters of a list of links
_LINK_SHARE_BELOW_TITLE = 0.3  # of a menu that has the name of the site as a heading
_MAX_BANNER_CHARS = 2000
_MAX_LABEL_CHARS = 60  # next to the links of a share bar
_MAX_MAINS = 5  # a page has one
_MAX_TIMES_MAIN = 5  # how much text a page may have, compared with its main part


def find_boilerplate(tree: LexborHTMLParser, context: Context) -> None:
    """Have the conversion pass over what is no content of a page."""
    for node in tree.css(f"{NAVIGATION}, {_COPIES}"):
        _skip(node, context)
    for node in tree.css("noscript"):
        if _ENABLE_SCRIPTS.search(context.text(node)):
            _skip(node, context)
    for node in tree.css(
        "[class], [id], [role], [aria-label], dialog, header, footer, aside, body > div, body > section"
    ):
        if node.tag not in _PAGE_PARTS and _is_boilerplate(node, context):
            _skip(node, context)
    for node in tree.css("button"):
        if not _is_title(node, context):
            _skip(node, context)
    for node in tree.css("[aria-hidden=true], [hidden], [style*='display:none'], [style*='display: none']"):
        if not context.is_block(node):  # an icon, or a second copy; a closed panel is hidden as well, and is content
            _skip(node, context)


def main_part(tree: LexborHTMLParser, context: Context) -> LexborNode | None:
    """The element that holds the content of a page: its main part, unless most of the text is elsewhere."""
    body = tree.body
    mains = [(len(context.text(node)), node) for node in tree.css("main, [role=main]")[:_MAX_MAINS]]
    length, main = max(mains, key=lambda each: each[0], default=(0, None))
    return main if body is None or len(context.text(body)) <= _MAX_TIMES_MAIN * length else body


def _skip(node: LexborNode, context: Context) -> None:
    """Never what holds the content: a tag that is not closed would take the rest of the page with it."""
    if node.css_first("main, [role=main], article") is not None:
        return
    if node.css_first("h1") is None or _link_share(node, context) >= _LINK_SHARE_BELOW_TITLE:
        context.skipped.add(node.mem_id)


def _is_boilerplate(node: LexborNode, context: Context) -> bool:
    names = " ".join(attribute(node, name) for name in ("class", "id", "aria-label"))
    if node.tag == "a":
        return _SKIP_LINK.search(names) is not None and attribute(node, "href").startswith("#")
    if node.tag == "footer" and _nearest(node, {"main", "article", "blockquote", "figure"}) is None:
        return True
    if not context.is_block(node) or (node.tag == "header" and node.css_first(_ANY_HEADING) is not None):
        return False
    if _LINK_LIST.search(names) or node.tag in {"header", "footer", "aside"}:
        return _link_share(node, context) >= _LINK_SHARE
    return _is_box(node, names, context) or _asks_for_consent(node, names, context)


def _is_box(node: LexborNode, names: str, context: Context) -> bool:
    """Say whether it is a bar to share the page or a box to subscribe to something."""
    if _SHARE.search(names):
        chars, link_chars = context.size(node)
        return 0 < link_chars >= chars - _MAX_LABEL_CHARS
    is_form = _NEWSLETTER.search(names) is not None and node.css_first("form, input") is not None
    return is_form and context.size(node)[0] <= _MAX_BANNER_CHARS


def _asks_for_consent(node: LexborNode, names: str, context: Context) -> bool:
    if context.size(node)[0] > _MAX_BANNER_CHARS:
        return False
    is_dialog = node.tag == "dialog" or attribute(node, "role") in _DIALOG_ROLES
    is_named = _CONSENT.search(names) is not None
    if not (is_dialog or is_named or _is_small_at_top(node, context)) or node.css_first(_CONTROLS) is None:
        return False
    if not is_dialog and _nearest(node, {"main", "article"}) is not None and node.css_first(_ANY_HEADING) is not None:
        return False  # a section about cookies
    return _COOKIES.search(names + context.text(node)) is not None


def _is_title(button: LexborNode, context: Context) -> bool:
    """Say whether a button is the title of what it opens, or at least says a sentence."""
    names = " ".join(attribute(button, name) for name in ("class", "id", "aria-label"))
    titled = _nearest(button, _TITLED)
    if titled is not None and context.size(titled)[0] == context.size(button)[0]:
        return True
    if _TOOL.search(names) or "aria-haspopup" in button.attrs:
        return False
    text = context.text(button)
    opens = any(name in button.attrs for name in _TOGGLES) or _TOGGLE.search(f"{names} {attribute(button, 'role')}")
    return bool(opens) or text.endswith(("?", "\uff1f")) or text.count(" ") >= 3


def _is_small_at_top(node: LexborNode, context: Context) -> bool:
    body = node.parent
    return body is not None and body.tag == "body" and 2 * context.size(node)[0] < context.size(body)[0]


def _nearest(node: LexborNode, tags: set[str]) -> LexborNode | None:
    above = node.parent
    while above is not None and above.tag not in tags:
        above = above.parent
    return above


def _link_share(node: LexborNode, context: Context) -> float:
    chars, link_chars = context.size(node)
    return link_chars / (chars or 1)
