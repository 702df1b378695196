"""Looks through a file that is a zip archive (office formats, books) before a library reads it: bombs, harmful XML."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from typing import IO
from xml.parsers import expat

from embedder_assets.corpus.extract.limits import MB, DocumentLimits, over_limit, too_deep
from embedder_assets.errors import DocumentError

# A document may be small and repeat itself; what unpacks to less than this does no harm.
_HARMLESS_BYTES = 10 * MB
_MOST_ENTRIES = 20_000  # each costs a library more than its bytes
_XML_SUFFIXES = (".xml", ".rels", ".opf", ".ncx", ".xhtml", ".html", ".htm", ".svg", ".vml")


def open_checked_zip(data: bytes, thing: str, limits: DocumentLimits) -> zipfile.ZipFile:
    """The archive that a file is, after a look at all that it holds.

    Raises:
        DocumentError: With kind ``too_large``, ``too_deep`` or ``xml_entities``.
        zipfile.BadZipFile: It is none, or damaged.
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    _refuse_zip_bomb(archive, thing, len(data), limits)
    for entry in archive.infolist():
        with archive.open(entry) as part:
            if entry.filename.lower().endswith(_XML_SUFFIXES):
                # A part that is no XML matters only to who reads it; LibreOffice writes one that is empty.
                with suppress(expat.ExpatError):
                    _XmlCheck(f"{thing} ({entry.filename})", limits.nesting).run(part)
            # To its end: what unpacks to more than it states has a wrong check sum.
            while part.read(MB):
                pass
    return archive


def _refuse_zip_bomb(archive: zipfile.ZipFile, thing: str, packed: int, limits: DocumentLimits) -> None:
    """Trusts what the archive says of itself: no entry can be read beyond the size that it states."""
    if len(archive.infolist()) > _MOST_ENTRIES:
        expected, got = f"at most {_MOST_ENTRIES:,} files in the archive", f"{len(archive.infolist()):,}"
        raise over_limit(thing, kind="too_large", expected=expected, got=got)
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > limits.unpacked_bytes:
        expected, got = f"at most {limits.unpacked_bytes / MB:g} MB when unpacked", f"{unpacked / MB:.0f} MB"
        raise over_limit(thing, kind="too_large", expected=expected, got=got)
    if unpacked > max(_HARMLESS_BYTES, limits.unpacked_ratio * packed):
        expected = f"at most {limits.unpacked_ratio:g} times its size when unpacked"
        got = f"{unpacked / packed:.0f} times"
        raise over_limit(thing, kind="too_large", expected=expected, got=got)


class _XmlCheck:
    """Looks through one part of the archive without keeping anything of it."""

    def __init__(self, thing: str, deepest: int) -> None:
        self._thing = thing
        self._deepest = deepest
        self._depth = 0

    def run(self, part: IO[bytes]) -> None:
        """Raises a DocumentError where the part is harmful, and an ExpatError where it is no XML."""
        parser = expat.ParserCreate()
        parser.EntityDeclHandler = self._refuse_entities
        parser.StartElementHandler = self._enter
        parser.EndElementHandler = self._leave
        parser.ParseFile(part)

    def _refuse_entities(self, *_: object) -> None:
        raise DocumentError(
            self._thing,
            kind="xml_entities",
            expected="XML without entities of its own, as applications write it",
            got="an <!ENTITY …>, which may multiply or name a file",
            remedy="Open it in its own application and save it again.",
        )

    def _enter(self, *_: object) -> None:
        self._depth += 1
        if self._depth > self._deepest:
            raise too_deep(self._thing, self._deepest, "more XML elements in each other")

    def _leave(self, _name: str) -> None:
        self._depth -= 1
