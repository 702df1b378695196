"""Rich Text Format (RTF): groups and control words become HTML, as the elements of other formats do.

There are small libraries for RTF (such as striprtf), but they give bare text: no headings, lists or notes, the
cells of a table between bars, and no word of what they leave out, which includes text boxes and equations.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.office.package import unreadable_office, unreadable_unless_read
from embedder_assets.corpus.extract.office.properties import properties_of
from embedder_assets.corpus.extract.office.rtf.reader import RtfReader


def extract_rtf(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn an RTF document into Markdown, without its images.

    Raises:
        DocumentError: With kind ``unreadable_office`` or ``too_deep``.
    """
    if not data.lstrip().startswith(b"{\\rtf"):
        raise unreadable_office(thing, "a file that does not begin as RTF does", expected="an RTF document")
    reader = RtfReader(thing, limits.nesting)
    with unreadable_unless_read(thing):
        html = reader.html(data)
    text = reader.equations.fill(markdown_of_html(html, thing, limits))
    title, metadata = properties_of(_element(name, value) for name, value in reader.properties.items())
    return Extracted(text, title, metadata, tuple(reader.omissions()))


def _element(name: str, text: str) -> Element:
    element = Element(name)
    element.text = text
    return element


__all__ = ["extract_rtf"]
