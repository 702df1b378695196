"""Word documents (DOCX) through mammoth, which reads the styles: a heading there becomes a heading here."""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.equations import EquationText
from embedder_assets.corpus.extract.office.graphics import Chart, read_chart, read_diagram
from embedder_assets.corpus.extract.office.package import Package, omission, open_package, texts
from embedder_assets.corpus.extract.office.properties import core_properties
from embedder_assets.corpus.extract.office.word.numbering import W
from embedder_assets.corpus.extract.office.word.rewriting import ITEM_NUMBER, WordXml
from embedder_assets.corpus.extract.office.word.styles import WordStyles

_STYLE_MAP = """
p[style-name='Title'] => h1:fresh
p[style-name='Code'] => pre:separator('\\n')
p[style-name='Source Code'] => pre:separator('\\n')
p[style-name='HTML Preformatted'] => pre:separator('\\n')
"""
_NOTE_REFERENCE = re.compile(r'<sup>(<a href="#(?:foot|end)note-[^"]*" id="[^"]*">\[\d+\]</a>)</sup>')
_WAY_BACK = re.compile(r' ?<a href="#(?:foot|end)note-ref-[^"]*">↑</a>')
_ITEM = re.compile(rf"<li>((?:<p>)?){ITEM_NUMBER.format(r'([0-9]+)')}")
_NUMBER_ELSEWHERE = re.compile(ITEM_NUMBER.format(r"([0-9]+)"))
_UNKNOWN = re.compile(r"An unrecognised element was ignored: .*[:}](\w+)$")
# What mammoth does not know and what shows nothing, or is named as something else.
_SHOWS_NOTHING = re.compile(r"altChunk|subDoc|annotationRef|\w*(?:Ref|Range(?:Start|End)|perm(?:Start|End)|Pr)")
_PAGE_NUMBER = re.compile(r"[\W\d]*(?:(?:page|seite|of|von|de|sur)[\W\d]*)*", re.IGNORECASE)


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
        self._unknown: Counter[str] = Counter()

    def markdown(self) -> str:
        import mammoth

        result = mammoth.convert_to_html(
            io.BytesIO(self._rewritten()), style_map=_STYLE_MAP, convert_image=lambda _: []
        )
        for message in result.messages:
            unknown = _UNKNOWN.match(message.message)
            if unknown and not _SHOWS_NOTHING.fullmatch(unknown[1]):
                self._unknown[unknown[1]] += 1
            self._left_out["symbol"] += message.message.startswith("A w:sym element")
        html = _ITEM.sub(r'<li value="\2">\1', result.value)
        html = _NUMBER_ELSEWHERE.sub(r"\1. ", html)
        html = _WAY_BACK.sub("", _NOTE_REFERENCE.sub(r"\1", html))
        text = markdown_of_html(html, self._thing, self._limits)
        return self._equations.fill([text], self._thing, self._limits)[0]

    def _rewritten(self) -> bytes:
        """The document as mammoth gets it: its parts of XML, rewritten."""
        styles, numbering = (self._related(kind) for kind in ("styles", "numbering"))
        rewritten = {name: self._package.xml(name) for name in (styles, numbering) if name}
        found = WordStyles(rewritten.get(styles), rewritten.get(numbering))
        notes = self._package.related(self._main, "footnotes", "endnotes")
        rewritten |= {name: self._rewrite(name, found) for name in (self._main, *notes)}
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name in self._package.names:
                if name in rewritten:
                    archive.writestr(name, ElementTree.tostring(rewritten[name]))
                elif name.endswith((".xml", ".rels")):
                    archive.writestr(name, self._package.read(name))
        return file.getvalue()

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
        for name, number in self._unknown.items():
            yield Omission(f"element {name}", number)
        yield from self._package.losses(self._package.related(self._main, "aFChunk", "subDocument"))

    def _furniture(self, kind: str) -> Iterator[str]:
        """The texts of the heads or feet of pages, without those that are a page number."""
        for part in self._package.related(self._main, kind):
            text = texts(self._package.xml(part).iter(f"{W}t"))
            if not _PAGE_NUMBER.fullmatch(text):
                yield text


_DETAILS = {
    "deletion": "Accept or reject the tracked changes to settle what the document says.",
    "hidden text": "It is formatted as hidden.",
    "image without description": "A description of the image becomes text.",
    "equation": "It is an object of an earlier equation editor; convert it in Word to have it read.",
    "symbol": "It is a character of a font that gives no word for it.",
    "table of contents entry": "The headings are in the text.",
}
