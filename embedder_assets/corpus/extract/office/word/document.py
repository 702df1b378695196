"""Word documents (DOCX): the body and its notes as Markdown, and what of the document is in neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.equations import EquationText
from embedder_assets.corpus.extract.office.graphics import Chart, read_chart, read_diagram
from embedder_assets.corpus.extract.office.package import PAGE_NUMBER, Package, omission, open_package, texts
from embedder_assets.corpus.extract.office.properties import core_properties
from embedder_assets.corpus.extract.office.word.numbering import W
from embedder_assets.corpus.extract.office.word.rewriting import WordXml
from embedder_assets.corpus.extract.office.word.styles import WordStyles
from embedder_assets.corpus.extract.office.word.writer import WordHtml


def extract_word(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a Word document into Markdown, without its images.

    Raises:
        DocumentError: With kind ``unreadable_office``, ``encrypted_office``, ``too_large``, ``too_deep`` or
            ``xml_entities``.
    """
    with open_package(data, thing, limits) as package:
        document = _WordDocument(package, package.main_part(thing, ".docx"), thing, limits)
        text = document.markdown()
        title, metadata = core_properties(package)
        return Extracted(text, title, metadata, tuple(document.omissions()))


class _WordDocument:
    """A package whose main part is a Word document."""

    def __init__(self, package: Package, main: str, thing: str, limits: DocumentLimits) -> None:
        self._package = package
        self._main = main
        self._thing = thing
        self._limits = limits
        self._equations = EquationText()
        self._left_out: Counter[str] = Counter()

    def markdown(self) -> str:
        styles = WordStyles(*(self._xml(self._related(kind)) for kind in ("styles", "numbering")))
        notes = {kind: self._notes(self._related(kind), styles) for kind in ("footnotes", "endnotes")}
        writer = WordHtml(styles, notes)
        html = writer.document(self._rewrite(self._main, styles), self._package.relationships(self._main))
        self._left_out["symbol"] += writer.unknown_symbols
        text = markdown_of_html(html, self._thing, self._limits)
        return self._equations.fill(text)

    def _xml(self, name: str) -> Element | None:
        return self._package.xml(name) if name else None

    def _notes(self, name: str, styles: WordStyles) -> dict[str, Element]:
        root = self._rewrite(name, styles) if name else ()
        return {each.get(f"{W}id") or "": each for each in root if not each.get(f"{W}type")}

    def _related(self, kind: str) -> str:
        return next(iter(self._package.related(self._main, kind)), "")

    def _rewrite(self, name: str, styles: WordStyles) -> Element:
        graphics = self._package.relationships(name)

        def read_graphic(key: str) -> Chart | list[str] | None:
            target = graphics[key].target if key in graphics else ""
            if target not in self._package.names:
                return None
            kind = graphics[key].kind
            return read_chart(self._package, target) if kind == "chart" else read_diagram(self._package, target)

        part = WordXml(self._package.xml(name), self._equations, styles, read_graphic)
        part.rewrite()
        self._left_out += part.left_out
        return part.root

    def omissions(self) -> Iterator[Omission]:
        """What of the document is not in its Markdown, once that is made."""
        parts = self._package.related(self._main, "comments")
        comments = sum(len(self._package.xml(part).findall(f"{W}comment")) for part in parts)
        if comments:
            yield Omission("comment", comments, "Comments are not part of the document.")
        for part, number in (+self._left_out).items():
            yield Omission(part, number, _DETAILS.get(part, ""))
        for kind in ("header", "footer"):
            yield from omission(f"page {kind}", list(dict.fromkeys(self._furniture(kind))))
        yield from self._package.losses(self._package.related(self._main, "aFChunk", "subDocument"))

    def _furniture(self, kind: str) -> Iterator[str]:
        """The texts of the heads or feet of pages, without those that are a page number."""
        for part in self._package.related(self._main, kind):
            text = texts(self._package.xml(part).iter(f"{W}t"))
            if not PAGE_NUMBER.fullmatch(text):
                yield text


_DETAILS = {
    "deletion": "Accept or reject the tracked changes to settle what the document says.",
    "hidden text": "It is formatted as hidden.",
    "image without description": "A description of the image becomes text.",
    "equation": "It is an object of an earlier equation editor; convert it in Word to have it read.",
    "symbol": "It is a character of a font that gives no word for it.",
    "table of contents entry": "The headings are in the text.",
}
