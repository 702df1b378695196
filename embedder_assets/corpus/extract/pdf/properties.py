"""What a PDF says of itself: the document information, and XMP where that is silent."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pypdfium2 import raw

from embedder_assets.corpus.extract.extracted import Value, keyword_list
from embedder_assets.corpus.extract.pdf.annotations import read_text

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FILE_NAME_TITLE = re.compile(r"^Microsoft |\.\w{2,4}$|^untitled$", re.IGNORECASE)
_PLACEHOLDERS = {"anonymous", "unspecified", "untitled", "(anonymous)", "(unspecified)"}  # what programs fill in
_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?)?", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_XMP = re.compile(rb"<x:xmpmeta.*?</x:xmpmeta>", re.DOTALL)
_MOST_XMP = 1_000_000
_NAMES = {
    "title": "{http://purl.org/dc/elements/1.1/}title",
    "description": "{http://purl.org/dc/elements/1.1/}description",
    "author": "{http://purl.org/dc/elements/1.1/}creator",
    "language": "{http://purl.org/dc/elements/1.1/}language",
    "keywords": "{http://ns.adobe.com/pdf/1.3/}Keywords",
    "created": "{http://ns.adobe.com/xap/1.0/}CreateDate",
    "modified": "{http://ns.adobe.com/xap/1.0/}ModifyDate",
}
_SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"


def properties(pdf: PdfDocument, data: bytes) -> tuple[str, dict[str, Value]]:
    """The title, empty where there is none or it is the name of a file, and the other fields."""
    stated = {name.lower(): _NOT_TEXT.sub("", text).strip() for name, text in pdf.get_metadata_dict().items()}
    told = _xmp(data)
    title = stated["title"] or told.get("title", "")
    fields: dict[str, Value] = {}
    language = read_text(lambda *into: raw.FPDFCatalog_GetLanguage(pdf, *into)) or told.get("language", "")
    if _LANGUAGE.fullmatch(language):
        fields["language"] = language
    for field, date in (("created", "creationdate"), ("modified", "moddate")):
        if when := iso_date(stated[date]) or _xmp_date(told.get(field, "")):
            fields[field] = when
    if keywords := keyword_list(stated["keywords"] or told.get("keywords", ""), ",;\n"):
        fields["keywords"] = list(dict.fromkeys(keywords))
    for field, stated_as in (("description", "subject"), ("author", "author")):
        text = stated[stated_as] or told.get(field, "")
        if text and text.casefold() not in _PLACEHOLDERS:
            fields[field] = text
    return "" if _FILE_NAME_TITLE.search(title) else title, fields


def iso_date(text: str) -> str:
    """A date as PDF writes it (``D:20240131094500+01'00'``) in ISO 8601, as exact as it is; empty if it is none."""
    found = _DATE.fullmatch(text.strip().rstrip("'"))
    if not found:
        return ""
    numbers = [int(part) for part in found.groups()[:6] if part]
    try:
        year, month, day, hour, minute, second = numbers + [1, 1, 1, 0, 0, 0][len(numbers) :]
        when = datetime(year, month, day, hour, minute, second)
        if found[7]:
            when = when.replace(tzinfo=UTC)
        elif found[8]:
            offset = timedelta(hours=int(found[9]), minutes=int(found[10] or 0))
            when = when.replace(tzinfo=timezone(offset if found[8] == "+" else -offset))
    except ValueError:
        return ""
    text = when.isoformat()
    return text[: {1: 4, 2: 7, 3: 10}[len(numbers)]] if len(numbers) < 4 else text


def _xmp_date(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text


def _xmp(data: bytes) -> dict[str, str]:
    """The fields of the XMP packet, which is written as plain text, so that programs without a PDF reader find it."""
    found = _XMP.findall(data)
    if not found or len(found[-1]) > _MOST_XMP:
        return {}
    try:
        tree = ElementTree.fromstring(found[-1])  # it begins at its root, so it declares no entities
    except ElementTree.ParseError:
        return {}
    fields = {name: _xmp_text(tree, tag) for name, tag in _NAMES.items()}
    fields["keywords"] = fields["keywords"] or ",".join(_items(tree, _SUBJECT))
    return {name: _NOT_TEXT.sub("", text) for name, text in fields.items() if text}


def _xmp_text(tree: ElementTree.Element, tag: str) -> str:
    """The first item of a property, or its text, which may be an attribute of its description too."""
    attributes = (element.get(tag) for element in tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"))
    return next(iter(_items(tree, tag)), "") or next(filter(None, attributes), "").strip()


def _items(tree: ElementTree.Element, tag: str) -> list[str]:
    return [text.strip() for element in tree.iter(tag) for text in element.itertext() if text.strip()]
