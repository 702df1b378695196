"""Office files and books of their parts, made when they are needed; the XML is what applications write."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT_WORD = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
RELATIONSHIPS = f"{_OFFICE}/relationships"
_NAMES = {
    "w": WORD,
    "r": RELATIONSHIPS,
    "m": f"{_OFFICE}/math",
    "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "v": "urn:schemas-microsoft-com:vml",
    "o": "urn:schemas-microsoft-com:office:office",
    "w14": "http://schemas.microsoft.com/office/word/2010/wordml",
}
NAMESPACES = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in _NAMES.items())
_DECLARED = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_PARTS = {"styles": "styles", "numbering": "numbering", "comments": "comments", "footnotes": "footnotes"}
_ODF = {
    **dict.fromkeys(("office", "text", "table", "style", "meta", "form", "presentation", "chart"), ""),
    "draw": "drawing",
    "fo": "xsl-fo-compatible",
    "svg": "svg-compatible",
}
ODF_NAMESPACES = " ".join(
    [
        *(
            f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name or prefix}:1.0"'
            for prefix, name in _ODF.items()
        ),
        'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"',
    ]
)


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def with_parts(data: bytes, parts: Mapping[str, str | bytes]) -> bytes:
    """An archive with some of its parts replaced, or more of them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return packed({name: archive.read(name) for name in archive.namelist()} | dict(parts))


def part_of(data: bytes, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name).decode()


def relationships(**targets: tuple[str, str]) -> str:
    """Relationships by id: the last word of the type, and the target."""
    each = (
        f'<Relationship Id="{key}" Type="{RELATIONSHIPS}/{kind}" Target="{target}"'
        f"{' TargetMode=' + chr(34) + 'External' + chr(34) if ':' in target else ''}/>"
        for key, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{_relationships_of_packages()}">{"".join(each)}</Relationships>'


def _relationships_of_packages() -> str:
    return "http://schemas.openxmlformats.org/package/2006/relationships"


def word_file(body: str, *, related: dict[str, tuple[str, str]] | None = None, **parts: str | bytes) -> bytes:
    """A Word document with XML in its body.

    Args:
        body: Of the document, with the prefixes of ``_NAMES``.
        related: More relationships of the document.
        parts: Its styles, numbering, comments or footnotes as XML inside their root; other parts by their name.
    """
    known = {name: content for name, content in parts.items() if name in _PARTS}
    roots = {"styles": "styles", "numbering": "numbering", "comments": "comments", "footnotes": "footnotes"}
    overrides = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{_DECLARED}.{kind}+xml"/>'
        for name, kind in [("document", "document.main"), *((name, name) for name in known)]
    )
    return packed(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>',
            "_rels/.rels": relationships(main=("officeDocument", "word/document.xml")),
            "word/document.xml": f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": relationships(
                **{name: (name, f"{name}.xml") for name in known}, **(related or {})
            ),
            **{
                f"word/{name}.xml": f"<w:{roots[name]} {NAMESPACES}>{text}</w:{roots[name]}>"
                for name, text in known.items()
            },
            **{name: content for name, content in parts.items() if name not in _PARTS},
        }
    )


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(content: str, properties: str = "") -> str:
    """A paragraph of some text, or of XML."""
    inner = content if content.startswith("<") else run(content)
    return f"<w:p><w:pPr>{properties}</w:pPr>{inner}</w:p>"


def table(*rows: list[str]) -> str:
    """A table of cells, each some text, or XML that begins with its properties."""
    cells = [[f"<w:tc>{cell if cell.startswith('<') else paragraph(cell)}</w:tc>" for cell in row] for row in rows]
    rows_xml = "".join(f"<w:tr>{chr(10).join(row)}</w:tr>" for row in cells)
    return f"<w:tbl>{rows_xml}</w:tbl>"


def odf_file(kind: str, body: str, *, styles: str = "", meta: str = "", **parts: str | bytes) -> bytes:
    """A file of OpenDocument: ``kind`` is text, presentation or spreadsheet."""
    return packed(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"<office:document-content {ODF_NAMESPACES}><office:automatic-styles>{styles}"
            f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
            "</office:document-content>",
            "meta.xml": f"<office:document-meta {ODF_NAMESPACES}><office:meta>{meta}</office:meta>"
            "</office:document-meta>",
            **parts,
        }
    )


def book_file(pages: dict[str, str], *, metadata: str = "", manifest: str = "", **parts: str | bytes) -> bytes:
    """An EPUB book whose spine has the pages in their order; a page is the content of its body."""
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in pages)
    spine = "".join(f'<itemref idref="{name}"/>' for name in pages)
    return packed(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="text/book.opf"/></rootfiles></container>',
            "text/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
            f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>'
            f"<manifest>{items}{manifest}</manifest><spine>{spine}</spine></package>",
            **{f"text/{name}.xhtml": page(content) for name, content in pages.items()},
            **parts,
        }
    )


def page(body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title/></head><body>{body}</body></html>'
    )
