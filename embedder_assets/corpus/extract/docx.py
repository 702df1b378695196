"""Word documents (DOCX) through mammoth, which reads the styles: a heading there becomes a heading here."""

from __future__ import annotations

import io
import zipfile
from typing import IO, Any
from xml.parsers import expat

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import MB, DocumentLimits, over_limit, too_deep
from embedder_assets.errors import DocumentError

# A document may be small and repeat itself; what unpacks to less than this does no harm.
_HARMLESS_BYTES = 10_000_000


def extract_docx(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a Word document into Markdown, without its images.

    Raises:
        DocumentError: With kind ``unreadable_docx``, ``too_large``, ``too_deep`` or ``xml_entities``.
    """
    import mammoth

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _refuse_zip_bomb(archive, thing, len(data), limits)
            _refuse_harmful_xml(archive, thing, limits.nesting)
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=_no_image).value
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # mammoth has no error of its own: zip, XML and key errors all come through
        raise DocumentError(
            thing,
            kind="unreadable_docx",
            expected="a Word document (DOCX)",
            got=f"{type(error).__name__}: {error}",
            remedy="Open it in a word processor and save it again as DOCX, without a password.",
        ) from error
    return Extracted(markdown_of_html(html, thing, limits))


def _no_image(_image: Any) -> list[Any]:
    return []


def _refuse_zip_bomb(archive: zipfile.ZipFile, thing: str, packed: int, limits: DocumentLimits) -> None:
    """Trusts what the archive says of itself: no entry can be read beyond the size that it states."""
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > limits.unpacked_bytes:
        expected, got = f"at most {limits.unpacked_bytes / MB:g} MB when unpacked", f"{unpacked / MB:.0f} MB"
        raise over_limit(thing, kind="too_large", expected=expected, got=got)
    if unpacked > max(_HARMLESS_BYTES, limits.unpacked_ratio * packed):
        expected = f"at most {limits.unpacked_ratio:g} times its size when unpacked"
        got = f"{unpacked / packed:.0f} times"
        raise over_limit(thing, kind="too_large", expected=expected, got=got)


def _refuse_harmful_xml(archive: zipfile.ZipFile, thing: str, deepest: int) -> None:
    """Refuses what a word processor never writes: declared entities, which may multiply, and endless nesting."""
    for entry in archive.infolist():
        if entry.filename.endswith((".xml", ".rels")):
            with archive.open(entry) as part:
                _XmlCheck(f"{thing} ({entry.filename})", deepest).run(part)


class _XmlCheck:
    """Looks through one part of the archive without keeping anything of it."""

    def __init__(self, thing: str, deepest: int) -> None:
        self._thing = thing
        self._deepest = deepest
        self._depth = 0

    def run(self, part: IO[bytes]) -> None:
        """Raises a DocumentError where the part is harmful, and what expat raises where it is no XML."""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._enter
        parser.EndElementHandler = self._leave
        parser.ParseFile(part)

    def _refuse_doctype(self, *_: object) -> None:
        raise DocumentError(
            self._thing,
            kind="xml_entities",
            expected="XML without a document type, as word processors write it",
            got="a <!DOCTYPE …>, which may declare entities",
            remedy="Open it in a word processor and save it again as DOCX.",
        )

    def _enter(self, *_: object) -> None:
        self._depth += 1
        if self._depth > self._deepest:
            raise too_deep(self._thing, self._deepest, "more XML elements in each other")

    def _leave(self, _name: str) -> None:
        self._depth -= 1
