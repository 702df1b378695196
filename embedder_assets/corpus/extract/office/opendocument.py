"""OpenDocument: texts (ODT), presentations (ODP) and spreadsheets (ODS), whose elements become those of HTML.

The elements are those of OpenDocument 1.3, part 3 (https://docs.oasis-open.org/office/OpenDocument/v1.3/).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from embedder_assets.corpus.extract.extracted import Extracted, Omission, Value
from embedder_assets.corpus.extract.html import convert_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.odf_sheets import SheetReader
from embedder_assets.corpus.extract.office.odf_text import OdfText
from embedder_assets.corpus.extract.office.package import (
    Package,
    combined,
    encrypted_office,
    omission,
    open_package,
    unreadable_office,
)
from embedder_assets.corpus.extract.office.properties import properties_of
from embedder_assets.corpus.extract.office.sheets import Sheet, sheets_markdown, title_of

_CONTENT, _META, _MANIFEST, _STYLES = "content.xml", "meta.xml", "META-INF/manifest.xml", "styles.xml"
_BODIES = {"text": ".odt", "presentation": ".odp", "spreadsheet": ".ods"}


def extract_odf_text(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a text (ODT) into Markdown.

    Raises:
        DocumentError: With kind ``unreadable_office``, ``encrypted_office``, ``too_large``, ``too_deep`` or
            ``xml_entities``.
    """
    with open_package(data, thing, limits) as package:
        document = _OpenDocument(package, thing, ".odt")
        html = document.text.blocks(document.body)
        return document.extracted(convert_html(html, thing, limits))


def extract_odf_slides(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a presentation (ODP) into Markdown; its pages are the slides that are shown."""
    with open_package(data, thing, limits) as package:
        document = _OpenDocument(package, thing, ".odp")
        slides, hidden = [], []
        for number, page in enumerate(document.body.iterfind("page"), start=1):
            if document.text.style(page).get("visibility") == "hidden":
                hidden.append(f"{number} {page.get('name', '')}".strip())
            else:
                slides.append(convert_html(document.text.slide(page, number), thing, limits))
        found = document.extracted(*slides, omissions=tuple(omission("hidden slide", hidden)))
        return replace(found, title=found.title or document.text.title or PurePosixPath(thing).stem)


def extract_odf_sheets(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a spreadsheet (ODS) into Markdown: a section per sheet with its tables."""
    with open_package(data, thing, limits) as package:
        document = _OpenDocument(package, thing, ".ods")
        hidden: list[str] = []
        names: list[str] = []
        reader = SheetReader(thing)

        def sheets() -> Iterator[Sheet]:
            for table in document.body.iterfind("table"):
                if document.text.style(table).get("display") == "false":
                    hidden.append(table.get("name", ""))
                else:
                    names.append(table.get("name", ""))
                    yield reader.read(table)

        text = sheets_markdown(sheets(), thing, limits)
        comments = sum(1 for _ in document.body.iter("annotation"))
        named = (*omission("hidden sheet", hidden), *omission("cell with an error", reader.errors))
        omissions = (*named, Omission("comment", comments)) if comments else named
        found = document.extracted(Extracted(text), omissions=omissions)
        return replace(found, title=found.title or title_of(names, thing))


class _OpenDocument:
    """A package of OpenDocument.

    Attributes:
        body: The element with the content.
        text: What writes its elements as HTML.
    """

    def __init__(self, package: Package, thing: str, suffix: str) -> None:
        self._package = package
        _refuse_encrypted(package, thing)
        if _CONTENT not in package.names:
            raise unreadable_office(thing, "a zip archive of something else", expected=f"a {suffix} file")
        root = package.plain_xml(_CONTENT)
        body = next((each for name in _BODIES if (each := root.find(f"./body/{name}")) is not None), None)
        found = _BODIES.get(body.tag) if body is not None else None
        if body is None or found != suffix:
            got = f"what is a {found} file" if found else "a file of another kind"
            raise unreadable_office(thing, got, expected=f"a {suffix} file")
        self.body = body
        styles = [root, *([package.plain_xml(_STYLES)] if _STYLES in package.names else [])]
        self.text = OdfText(package, styles, thing)

    def extracted(self, *parts: Extracted, omissions: tuple[Omission, ...] = ()) -> Extracted:
        """The parts of the text one after the other, with what the document says of itself and lacks."""
        title, metadata = "", dict[str, Value]()
        if _META in self._package.names:
            title, metadata = properties_of(self._package.plain_xml(_META).iter())
        offsets, text = [], ""
        for part in parts:
            text += "\n" if text else ""
            offsets.append(len(text))
            text += part.text
        in_parts = (omission for part in parts for omission in part.omissions)
        losses = combined([*omissions, *in_parts, *self.text.omissions(), *self._losses()])
        return Extracted(text, title, metadata, losses, tuple(offsets) if self.body.tag == "presentation" else ())

    def _losses(self) -> Iterator[Omission]:
        if any(name.startswith(("Basic/", "Scripts/")) for name in self._package.names):
            yield Omission("macro", 1, "Macros are never run; their code is not read.")


def _refuse_encrypted(package: Package, thing: str) -> None:
    if _MANIFEST in package.names and package.plain_xml(_MANIFEST).find(".//encryption-data") is not None:
        raise encrypted_office(thing)
