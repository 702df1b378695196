"""What a page says of itself: its title, language, dates, keywords."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from embedder_assets.corpus.extract.extracted import Value, keyword_list
from embedder_assets.corpus.extract.html.context import Context, attribute

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_YEAR_OR_MONTH = re.compile(r"\d{4}(?:-\d{2})?")
_SITE_SEPARATOR = re.compile(r"\s+[|\-\u2013—·•«»:]{1,2}\s+")
# The names under which pages state each field, the most certain first.
_CREATED = (
    "article:published_time", "datepublished", "dcterms.created", "dcterms.issued", "dc.date.created", "dc.date.issued",
    "dc.date", "dcterms.date", "citation_publication_date", "pubdate", "date",
)  # fmt: skip
_MODIFIED = (
    "article:modified_time", "datemodified", "dcterms.modified", "dc.date.modified", "og:updated_time", "last-modified",
    "revised",
)  # fmt: skip
_DESCRIPTIONS = ("description", "og:description", "dc.description", "dcterms.description")
_AUTHORS = ("author", "dc.creator", "dcterms.creator", "citation_author", "article:author")
_MAX_LINKED_DATA_CHARS = 1_000_000


def page_metadata(tree: LexborHTMLParser) -> dict[str, Value]:
    """The fields that a page states; its author under ``author``."""
    stated = _stated(tree)
    texts = [text for name in ("keywords", "article:tag") for text in stated.get(name, [])]
    keywords = [word for text in texts for word in keyword_list(text, ",;\uff0c、")]
    fields: dict[str, Value | None] = {
        "language": _language(tree, stated),
        "created": _first_date(stated, _CREATED),
        "modified": _first_date(stated, _MODIFIED),
        "keywords": list(dict.fromkeys(keywords)),
        "description": _first(stated, _DESCRIPTIONS),
        "author": next((name for name in map(_name, _all(stated, _AUTHORS)) if name), None),
    }
    return {name: value for name, value in fields.items() if value}


def page_title(tree: LexborHTMLParser, main: LexborNode | None, context: Context) -> tuple[str, LexborNode | None]:
    """The title that a page states, and the heading that states it, if one does.

    In this order: the first ``<h1>`` of the main part, one outside of it that is not the name of the site, ``<title>``
    without the name of the site, ``og:title``.
    """
    stated = _stated(tree)
    og_title = _first(stated, ("og:title",)) or ""
    titles = (context.text(node) for node in tree.css("title") if node.parent is None or node.parent.tag != "svg")
    title = next(filter(None, titles), og_title)
    sites = {_first(stated, ("og:site_name", "application-name")) or ""}
    inside = main.css("h1") if main is not None else []
    for heading in inside:
        text = context.text(heading)
        if text and text not in sites and context.is_shown(heading) and not _leads_home(heading):
            return text, heading
    outside = [node for node in tree.css("h1") if context.text(node) and context.is_shown(node)]
    sites |= {context.text(node) for node in outside if _leads_home(node)}
    parts = _SITE_SEPARATOR.split(title)
    below = {context.text(node).casefold() for node in (main.css("h2") if main is not None else [])}
    if any(part.casefold() in below for part in parts):
        sites.update(parts[1:][-1:])  # a generator puts the name of the book above every page and behind every title
    for heading in outside:
        if context.text(heading) not in sites:
            return context.text(heading), heading
    return _without_site(title, sites, {og_title, *(context.text(node) for node in tree.css("h2"))}), None


def _without_site(title: str, sites: set[str], headings: set[str]) -> str:
    """Cut the name of the site off, where the page says elsewhere what is the one and what the other."""
    parts = _SITE_SEPARATOR.split(title)
    ends = (parts[0], parts[-1]) if len(parts) > 1 else ()
    stated = next((part for part in ends if part and part in headings), None)
    if stated is not None:
        return stated
    for site in filter(None, sites.intersection(ends)):
        start, end = (len(site), None) if parts[0] == site else (0, -len(site))
        return title[start:end].strip(" |-\u2013—·•«»:")
    return title


def _leads_home(heading: LexborNode) -> bool:
    links = [*heading.css("a"), *([heading.parent] if heading.parent is not None and heading.parent.tag == "a" else [])]
    return any(
        attribute(link, "href") in {"/", "./", "index.html"} or attribute(link, "rel") == "home" for link in links
    )


def _stated(tree: LexborHTMLParser) -> dict[str, list[str]]:
    """What the page states by name: in ``<meta>``, in microdata and ``<time>``, in JSON-LD."""
    stated: dict[str, list[str]] = {}
    for name, value in [*_meta(tree), *_microdata(tree), *_linked_data(tree)]:
        text = " ".join(value.split())
        if text:
            stated.setdefault(name.lower(), []).append(text)
    return stated


def _meta(tree: LexborHTMLParser) -> Iterator[tuple[str, str]]:
    for node in tree.css("meta[content]"):
        for name in ("name", "property", "http-equiv", "itemprop"):
            if attribute(node, name):
                yield attribute(node, name), attribute(node, "content")


def _microdata(tree: LexborHTMLParser) -> Iterator[tuple[str, str]]:
    for node in tree.css("time[itemprop], time[pubdate]"):
        name = attribute(node, "itemprop") or "pubdate"
        yield name, attribute(node, "datetime") or node.text()


def _linked_data(tree: LexborHTMLParser) -> Iterator[tuple[str, str]]:
    for script in tree.css("script[type='application/ld+json']"):
        text = script.text()
        try:
            data = json.loads(text) if len(text) <= _MAX_LINKED_DATA_CHARS else None
        except (ValueError, RecursionError):
            continue
        things = data if isinstance(data, list) else [data]
        for thing in [each for each in things if isinstance(each, dict)]:
            graph = thing.get("@graph")
            for item in [thing, *(graph if isinstance(graph, list) else [])]:
                yield from _item(item) if isinstance(item, dict) else ()


def _item(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = {"datePublished", "dateModified", "inLanguage", "keywords", "description", "author"} & item.keys()
    if "datePublished" not in names and "author" not in names:
        return  # about the site, its search, its owner
    for name in sorted(names):
        for value in item[name] if isinstance(item[name], list) else [item[name]]:
            said = value.get("name") if isinstance(value, dict) else value
            if isinstance(said, str):
                yield name, said


def _language(tree: LexborHTMLParser, stated: dict[str, list[str]]) -> str | None:
    root = tree.css_first("html")
    attributes = [attribute(root, name) for name in ("lang", "xml:lang")] if root is not None else []
    names = [
        *attributes,
        *_all(stated, ("content-language", "dc.language", "dcterms.language", "inlanguage", "og:locale")),
    ]
    tags = (name.replace("_", "-") for name in names)
    return next((tag for tag in tags if _LANGUAGE.fullmatch(tag)), None)


def _all(stated: dict[str, list[str]], names: tuple[str, ...]) -> list[str]:
    return [text for name in names for text in stated.get(name, [])]


def _first(stated: dict[str, list[str]], names: tuple[str, ...]) -> str | None:
    return next(iter(_all(stated, names)), None)


def _first_date(stated: dict[str, list[str]], names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(_iso_date, _all(stated, names))), None)


def _iso_date(text: str) -> str | None:
    """A date or time in ISO 8601; None for one in words, which depend on the language."""
    text = text.replace("/", "-")
    if _YEAR_OR_MONTH.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return parsedate_to_datetime(text).isoformat()
        except ValueError:
            return None
    is_date = len(text) <= len("2026-01-31")
    return moment.date().isoformat() if is_date else moment.isoformat()


def _name(author: str) -> str:
    return "" if author.startswith(("http://", "https://", "@")) else author
