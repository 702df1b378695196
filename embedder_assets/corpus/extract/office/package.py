"""An office file as a package of parts: checked, its XML parsed, its relationships resolved, its losses counted."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Omission
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.zip_guard import open_checked_zip
from embedder_assets.errors import DocumentError

_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
PAGE_NUMBER = re.compile(r"[\W\d]*(?:(?:page|seite|of|von|de|sur)[\W\d]*)*", re.IGNORECASE)
"""The head or foot of a page that is no more than its number."""

_NAMED = 5  # of the names of a part that an omission lists
# "Strict" documents have the same elements in other namespaces.
_STRICT, _TRANSITIONAL = b"http://purl.oclc.org/ooxml/", b"http://schemas.openxmlformats.org/"
_STRICT_NAMESPACES = {
    _STRICT + name: _TRANSITIONAL + name.replace(b"/", b"/2006/", 1)
    for name in (
        b"wordprocessingml/main",
        b"drawingml/main",
        b"drawingml/chart",
        b"drawingml/diagram",
        b"drawingml/picture",
        b"drawingml/wordprocessingDrawing",
        b"officeDocument/math",
        b"officeDocument/relationships",
        b"presentationml/main",
        b"spreadsheetml/main",
    )
}
_KINDS = {"document": ".docx", "presentation": ".pptx", "workbook": ".xlsx"}


@dataclass(frozen=True)
class Relationship:
    """Of one part to another: the last word of its type, and the name of the part or the address outside."""

    kind: str
    target: str


class Package:
    """The parts of a checked archive by name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]

    def read(self, name: str) -> bytes:
        """The bytes of a part; of an XML part in the usual namespaces.

        Raises:
            KeyError: There is no such part.
        """
        data = self._archive.read(name)
        if _STRICT in data:
            for strict, usual in _STRICT_NAMESPACES.items():
                data = data.replace(strict, usual)
        return data

    def xml(self, name: str) -> Element:
        """The root of a part whose names keep their namespaces, as ``{namespace}name``."""
        return ElementTree.fromstring(self.read(name))

    def plain_xml(self, name: str) -> Element:
        """The root of a part without namespaces, but for those of math; relationships are attributes ``r:…``."""
        return without_namespaces(self.xml(name))

    def relationships(self, name: str) -> dict[str, Relationship]:
        """The relationships of a part, by id; of the package itself for an empty name."""
        folder, file = posixpath.split(name)
        rels = posixpath.join(folder, "_rels", f"{file}.rels")
        if rels not in self.names:
            return {}
        return {
            each.get("Id", ""): Relationship(each.get("Type", "").rpartition("/")[2], _target(folder, each))
            for each in self.xml(rels)
        }

    def related(self, name: str, *kinds: str) -> list[str]:
        """The parts of this package that a part has relationships of some kinds to, in their order."""
        found = [each.target for each in self.relationships(name).values() if each.kind in kinds]
        return [target for target in found if target in self.names]

    def main_part(self, thing: str, suffix: str) -> str:
        """The part with the content.

        Raises:
            DocumentError: With kind ``unreadable_office``: the file is of another format than its suffix says.
        """
        main = next(iter(self.related("", "officeDocument")), "")
        root = _local(self.xml(main).tag) if main else ""
        if _KINDS.get(root) == suffix:
            return main
        got = f"what is a {_KINDS[root]} file" if root in _KINDS else "a zip archive of something else"
        raise unreadable_office(thing, got, expected=f"a {suffix} file")

    def losses(self, inserted: Iterable[str] = ()) -> Iterator[Omission]:
        """What of any office file is not read: macros and files inside the file, ``inserted`` ones among them."""
        if any(name.endswith(("vbaProject.bin", "/script-lc.xml")) for name in self.names):
            yield Omission("macro", 1, "Macros are never run; their code is not read.")
        charts = [name for name in self.names if "/charts/" in name and name.endswith(".xml")]
        charted = {target for chart in charts for target in self.related(chart, "package")}
        inner = [name for name in self.names if "/embeddings/" in name and name not in charted]
        yield from omission("embedded file", _file_names([*inserted, *inner]), "Save it as a document of its own.")
        controls = [name for name in self.names if "/activeX/" in name and name.endswith(".xml")]
        yield from omission("form control", _file_names(controls))


def _file_names(parts: Iterable[str]) -> list[str]:
    return [PurePosixPath(part).name for part in parts]


def omission(part: str, names: list[str], remedy: str = "") -> Iterator[Omission]:
    """One omission that lists the first of the names, or none where there are no names."""
    if names:
        listed = ", ".join(names[:_NAMED])
        more = ", …" if len(names) > _NAMED else ""
        yield Omission(part, len(names), f"{listed}{more}. {remedy}".strip())


def combined(omissions: Iterable[Omission]) -> tuple[Omission, ...]:
    """One omission per part, with the first detail that any of them has."""
    found: dict[str, Omission] = {}
    for each in omissions:
        known = found.get(each.part, Omission(each.part, 0))
        found[each.part] = Omission(each.part, known.count + each.count, known.detail or each.detail)
    return tuple(found.values())


@contextmanager
def open_package(data: bytes, thing: str, limits: DocumentLimits) -> Iterator[Package]:
    """Opens an office file that is a zip archive.

    Raises:
        DocumentError: With kind ``encrypted_office`` or ``unreadable_office``, or as ``open_checked_zip`` has it; also
            for any other error within the context, which the content of the file is then to blame for.
    """
    if data.startswith(_OLE_SIGNATURE):
        raise _not_a_package(data, thing)
    with unreadable_unless_read(thing), open_checked_zip(data, thing, limits) as archive:
        yield Package(archive)


@contextmanager
def unreadable_unless_read(thing: str) -> Iterator[None]:
    """Turns whatever a library raises over a damaged file into a DocumentError of kind ``unreadable_office``."""
    try:
        yield
    except (DocumentError, MemoryError, RecursionError):
        raise
    except Exception as error:  # zip, XML and key errors, and those of several libraries
        raise unreadable_office(thing, f"{type(error).__name__}: {error}") from error


def unreadable_office(
    thing: str, got: str, expected: str = "a whole file of the format of its suffix"
) -> DocumentError:
    """The error of an office file that is damaged, or of another format than its suffix says."""
    remedy = "Give it the suffix of its format; or open it in its own application and save it again."
    return DocumentError(thing, kind="unreadable_office", expected=expected, got=got, remedy=remedy)


def encrypted_office(thing: str, got: str = "one that is encrypted") -> DocumentError:
    """The error of an office file or book that cannot be read without a password or key."""
    remedy = "Save it without a password or copy protection."
    return DocumentError(thing, kind="encrypted_office", expected="a file without a password", got=got, remedy=remedy)


def _not_a_package(data: bytes, thing: str) -> DocumentError:
    if _ENCRYPTED_STREAM in data:
        return encrypted_office(thing)
    return unreadable_office(thing, "an Office file of before 2007 (.doc, .ppt, .xls, .msg)")


def whole_number(stated: str | None, otherwise: int, *, signed: bool = False) -> int:
    """A number that an attribute states in digits, below 0 if it may be; another one where it states none."""
    stated = stated or ""
    digits = stated.removeprefix("-") if signed else stated
    return int(stated) if digits.isdecimal() else otherwise


def without_namespaces(root: Element) -> Element:
    """The same tree with plain names, but for the elements of math and the attributes of relationships."""
    for element in root.iter():
        if not element.tag.startswith(_MATH):
            element.tag = _local(element.tag)
        if any(key[0] == "{" for key in element.attrib):
            element.attrib = _plain_attributes(element.attrib)
    return root


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _plain_attributes(attributes: dict[str, str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    for key, value in attributes.items():
        prefix = "r:" if key.startswith("{") and key.partition("}")[0].endswith("/relationships") else ""
        plain.setdefault(prefix + _local(key), value)
    return plain


def _target(folder: str, relationship: Element) -> str:
    target = relationship.get("Target", "")
    if relationship.get("TargetMode") == "External":
        return target
    return posixpath.normpath(posixpath.join("/", folder, unquote(target))).lstrip("/")


def texts(elements: Iterable[Element]) -> str:
    """All the text below some elements, with a space between them."""
    return " ".join(" ".join("".join(element.itertext()).split()) for element in elements).strip()
