"""Equations of Office Open XML (OMML) as LaTeX, by xberg."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.document import DOCX_MEDIA_TYPE
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.xberg_reader import read_with_xberg
from embedder_assets.errors import DocumentError

MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# xberg knows elements by their usual prefixes.
ElementTree.register_namespace("m", MATH[1:-1])
ElementTree.register_namespace("w", _WORD[1:-1])
_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/word/document.xml" ContentType="{DOCX_MEDIA_TYPE}.main+xml"/></Types>'
)
_RELATIONSHIPS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_NUMBERED = re.compile(r"(\d+);(.*)", re.DOTALL)


# Around the number of an equation until the Markdown is made: noncharacters, which no document holds.
_PLACEHOLDER = "\ufdd0{}\ufdd1"
_PLACE = re.compile(_PLACEHOLDER.format(r"(\d+)"))
_PLACE_ALONE = re.compile(rf"^{_PLACE.pattern}$", re.MULTILINE)


class EquationText:
    """The equations of a document: places for them in what becomes Markdown, and their LaTeX once it is."""

    def __init__(self) -> None:
        self._equations: list[Element] = []

    def placeholder(self, equation: Element) -> str:
        """What stands for an equation (an element ``oMath``); nothing where it holds nothing."""
        if not "".join(equation.itertext()).strip():
            return ""
        self._equations.append(equation)
        return _PLACEHOLDER.format(len(self._equations) - 1)

    def fill(self, parts: Sequence[str], thing: str, limits: DocumentLimits) -> list[str]:
        """Parts of Markdown with the equations between dollar signs, two where one stands alone."""
        latex = latex_of(self._equations, thing, limits)
        if not latex:
            return list(parts)
        filled = (_PLACE_ALONE.sub(lambda found: f"$${latex[int(found[1])]}$$", part) for part in parts)
        return [_PLACE.sub(lambda found: f"${latex[int(found[1])]}$", part) for part in filled]


def latex_of(equations: Sequence[Element], thing: str, limits: DocumentLimits) -> list[str]:
    """The equations (``oMath`` elements) as LaTeX without dollar signs, or as their bare text where that fails.

    A document of nothing but them goes through xberg, which gives the formulas of a document apart from its text. Each
    begins with its number, since xberg leaves out those that are empty to it.
    """
    if not equations:
        return []
    found: dict[int, str] = {}
    try:
        document = read_with_xberg(_document(equations), DOCX_MEDIA_TYPE, thing, limits)
    except DocumentError:
        pass  # each is written as its text
    else:
        numbered = (_NUMBERED.match(formula.latex) for formula in document.formulas)
        found = {int(match[1]): match[2].strip() for match in numbered if match}
    return [_complete(found.get(number, ""), equation) for number, equation in enumerate(equations)]


def _complete(latex: str, equation: Element) -> str:
    """The LaTeX if it holds every word and number of the equation, otherwise the equation's bare text."""
    pieces = [element.text or "" for element in equation.iter() if element.tag in {MATH + "t", _WORD + "t"}]
    words = [word for piece in pieces for word in re.findall(r"[A-Za-z0-9]+", piece)]
    if latex and all(word in latex for word in words):
        return " ".join(latex.split()).replace("|", r"\vert ")
    return " ".join("".join(pieces).split())


def _document(equations: Sequence[Element]) -> bytes:
    root = Element(f"{_WORD}document")
    body = ElementTree.SubElement(root, f"{_WORD}body")
    for number, equation in enumerate(equations):
        paragraph = ElementTree.SubElement(body, f"{_WORD}p")
        numbered = ElementTree.SubElement(paragraph, f"{MATH}oMath")
        run = ElementTree.SubElement(numbered, f"{MATH}r")
        ElementTree.SubElement(run, f"{MATH}t").text = f"{number};"
        numbered.extend(equation)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONSHIPS)
        archive.writestr("word/document.xml", ElementTree.tostring(root, "utf-8"))
    return file.getvalue()
