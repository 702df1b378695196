"""Books (EPUB): the chapters in the order of the book's spine, each read as the page of HTML that it is.

What the container, the package file and its spine say: EPUB 3.3, sections 4 and 5 (https://www.w3.org/TR/epub-33/).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from html import escape, unescape
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Extracted, Omission, Value
from embedder_assets.corpus.extract.html import convert_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.package import (
    Package,
    combined,
    encrypted_office,
    omission,
    open_package,
    unreadable_office,
    without_namespaces,
)
from embedder_assets.corpus.extract.office.properties import iso_time, stated_title
from embedder_assets.corpus.extract.plain import decode

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = {"application/xhtml+xml", "text/html"}
# Fonts may be obfuscated in any book, which hides no word of it (EPUB 3.3, 4.4).
_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)\w+;")
_EMPTY_ELEMENT = re.compile(r"<(title|script|style|a|span|p|div|td|th|i|b|em|strong)\b([^<>]*?)/>", re.IGNORECASE)
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*encoding=["']([\w.-]+)""")
_TAG = re.compile(r"<[^<>]+>")
_HEADINGS = {f"h{level}" for level in range(1, 7)}
_CONTENTS = {"toc", "landmarks", "page-list", "lot", "loi"}


def extract_book(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a book into Markdown, without its cover and table of contents.

    Raises:
        DocumentError: With kind ``unreadable_office``, ``encrypted_office``, ``too_large``, ``too_deep`` or
            ``xml_entities``.
    """
    with open_package(data, thing, limits) as package:
        if _CONTAINER not in package.names:
            raise unreadable_office(thing, "a zip archive of something else", expected="an EPUB book")
        book = _Book(package, thing, limits)
        text = "\n".join(filter(None, book.chapters()))
        title, metadata = book.properties()
        return Extracted(text, title, metadata, combined(book.omissions()))


class _Book:
    """A package with an EPUB container; its manifest by id."""

    def __init__(self, package: Package, thing: str, limits: DocumentLimits) -> None:
        self._package = package
        self._thing = thing
        self._limits = limits
        root = next(package.plain_xml(_CONTAINER).iter("rootfile"))
        self._path = root.get("full-path", "")
        self._root = package.plain_xml(self._path)
        self._items = {item.get("id", ""): item for item in self._root.findall("./manifest/item")}
        self._wordless: list[str] = []
        self._missing: list[str] = []
        self._in_pages: list[Omission] = []

    def chapters(self) -> Iterator[str]:
        """The pages of the spine as Markdown."""
        self._refuse_encrypted()
        labels = self._labels()
        spine = [reference.get("idref", "") for reference in self._root.findall("./spine/itemref")]
        for item in map(self._items.get, dict.fromkeys(spine)):
            if item is None or "nav" in item.get("properties", "").split():
                continue
            part = self._part(item)
            if item.get("media-type") not in _PAGES or part not in self._package.names:
                self._missing.append(part)
                continue
            yield self._chapter(part, labels.get(part, ""))

    def omissions(self) -> Iterator[Omission]:
        """What of the book is not in its text, once the chapters are read."""
        yield from omission("page without text", self._wordless)
        yield from omission("chapter", self._missing, "It is no page of HTML, or missing.")
        yield from self._in_pages

    def properties(self) -> tuple[str, dict[str, Value]]:
        """Title and metadata; the subjects of a book are its keywords, its date the one on which it came out."""
        metadata: dict[str, Value] = {}
        texts: dict[str, list[str]] = {}
        for element in self._root.findall("./metadata//*"):
            name = element.get("property", "").removeprefix("dcterms:") or element.get("event") or element.tag
            if text := " ".join(unescape(_TAG.sub(" ", element.text or "")).split()):
                texts.setdefault(name, []).append(text)
        for field, names in _FIELDS.items():
            if found := next((texts[name] for name in names if name in texts), None):
                metadata[field] = iso_time(found[0]) if field in {"created", "modified"} else "; ".join(found)
        if subjects := texts.get("subject"):
            metadata["keywords"] = list(dict.fromkeys(subjects))
        return stated_title(texts.get("title", [""])[0]), {key: value for key, value in metadata.items() if value}

    def _part(self, item: Element) -> str:
        return self._resolve(self._path, item.get("href", ""))

    def _resolve(self, base: str, reference: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(reference.partition("#")[0])))

    def _refuse_encrypted(self) -> None:
        if _ENCRYPTION not in self._package.names:
            return
        for data in self._package.plain_xml(_ENCRYPTION).iter("EncryptedData"):
            method = data.find("./EncryptionMethod")
            if method is None or not method.get("Algorithm", "").startswith(_FONT_ALGORITHMS):
                raise encrypted_office(self._thing, "a book with copy protection (DRM)")

    def _labels(self) -> dict[str, str]:
        """What the table of contents calls each page."""
        labels: dict[str, str] = {}
        for item in self._items.values():
            part = self._part(item)
            if part not in self._package.names:
                continue
            if "nav" in item.get("properties", "").split():
                tree = self._page(part)
                links = [
                    (each.get("href", ""), "".join(each.itertext()))
                    for each in (tree.iter("a") if tree is not None else ())
                ]
            elif item.get("media-type") == "application/x-dtbncx+xml":
                points = self._package.plain_xml(part).iter("navPoint")
                links = [(_source(point), point.findtext("./navLabel/text") or "") for point in points]
            else:
                continue
            for reference, text in links:
                labels.setdefault(self._resolve(part, reference), " ".join(text.split()))
        return labels

    def _chapter(self, part: str, label: str) -> str:
        page = self._page(part)
        if page is None:  # no XML; HTML forgives more
            source = _EMPTY_ELEMENT.sub(r"<\1\2></\1>", self._source(part))
            return self._markdown(source)
        body = next(page.iter("body"), page)
        _drop_furniture(body)
        if not "".join(body.itertext()).strip():
            self._wordless.append(posixpath.basename(part))
            return ""
        if label and not any(each.tag in _HEADINGS for each in body.iter()):
            heading = Element("h2")
            heading.text = label
            body.insert(0, heading)
        return self._markdown(ElementTree.tostring(body, "unicode", method="html"))

    def _markdown(self, source: str) -> str:
        found = convert_html(source, self._thing, self._limits)
        self._in_pages += found.omissions
        return found.text

    def _page(self, part: str) -> Element | None:
        """A page as a tree of HTML's elements; None where it is no XML."""
        source = _ENTITY.sub(lambda found: escape(unescape(found[0])), self._source(part))
        try:
            root = ElementTree.fromstring(source.encode())
        except ElementTree.ParseError:
            return None
        return without_namespaces(root)

    def _source(self, part: str) -> str:
        data = self._package.read(part)
        declared = _ENCODING.match(data)
        text = decode(data, f"{self._thing} ({part})", declared[1].decode() if declared else None)
        return re.sub(r"^\s*<\?xml[^>]*>", "", text)


def _source(point: Element) -> str:
    content = point.find("./content")
    return "" if content is None else content.get("src", "")


def _drop_furniture(body: Element) -> None:
    """Removes tables of contents and the numbers of printed pages; puts the marks of notes between brackets."""
    for parent in list(body.iter()):
        for child in list(parent):
            kinds = set(child.get("type", "").split())
            if "pagebreak" in kinds or (child.tag == "nav" and kinds & _CONTENTS):
                _remove(parent, child)
            elif "noteref" in kinds and child.text and child.text.strip().isalnum():
                child.text = f"[{child.text.strip()}]"


def _remove(parent: Element, child: Element) -> None:
    """Removes an element, and leaves the text behind it."""
    at = list(parent).index(child)
    if at:
        parent[at - 1].tail = (parent[at - 1].tail or "") + (child.tail or "")
    else:
        parent.text = (parent.text or "") + (child.tail or "")
    parent.remove(child)


_FIELDS = {
    "language": ("language",),
    "description": ("description",),
    "created": ("publication", "date", "created"),
    "modified": ("modified", "modification"),
    "author": ("creator",),
}
