"""What office files and books say of themselves: title, dates, language, keywords, description."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.extracted import Value, keyword_list
from embedder_assets.corpus.extract.office.package import Package

# Elements of Dublin Core, of OOXML's core properties and of OpenDocument, and the field that each becomes.
_FIELDS = {
    "language": "language",
    "created": "created",
    "creation-date": "created",
    "modified": "modified",
    "date": "modified",
    "description": "description",
    "creator": "author",
    "initial-creator": "author",
}
_KEYWORDS = {"keywords", "keyword"}
# What applications put there of their own accord.
_NO_TITLE = re.compile(
    r"(?i)microsoft (word|excel|powerpoint)( -.*)?|powerpoint[- ]pr[äe]sentation"
    r"|(untitled|document|presentation|workbook|book|slide|folie|title)?[ \d-]*|untitled document|(pdf|word)?document"
)
_ONLY_NAME = re.compile(r"(?i)[^\s]+\.(docx?|dotx?|pptx?|xlsx?|od[tsp]|rtf|indd)")
_DATE = re.compile(r"\d{4}-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d)?)?)?")


def core_properties(package: Package) -> tuple[str, dict[str, Value]]:
    """Title and metadata of an OOXML file."""
    part = next(iter(package.related("", "core-properties")), None)
    return properties_of(package.plain_xml(part)) if part else ("", {})


def properties_of(elements: Iterable[Element]) -> tuple[str, dict[str, Value]]:
    """Title and metadata that elements without namespaces state, each by its name."""
    title, subject = "", ""
    metadata: dict[str, Value] = {}
    keywords: list[str] = []
    for element in elements:
        text = " ".join((element.text or "").split())
        if not text:
            continue
        if element.tag == "title":
            title = title or stated_title(text)
        elif element.tag == "subject":
            subject = subject or text
        elif element.tag in _KEYWORDS:
            keywords += keyword_list(text, ";,")
        elif field := _FIELDS.get(element.tag):
            metadata.setdefault(field, iso_time(text) if field in {"created", "modified"} else text)
    if keywords:
        metadata["keywords"] = list(dict.fromkeys(keywords))
    if subject:
        metadata.setdefault("description", subject)
    return title, {field: value for field, value in metadata.items() if value}


def stated_title(text: str) -> str:
    """A title, or nothing where an application has put its own name or that of a file."""
    return "" if _NO_TITLE.fullmatch(text) or _ONLY_NAME.fullmatch(text) else text


def iso_time(text: str) -> str:
    """A time as ISO 8601 without fractions of a second; a zone stays; empty where it is none."""
    match = _DATE.match(text)
    if not match:
        return ""
    zone = re.search(r"(Z|[+-]\d\d:\d\d)$", text[match.end() :])
    return match[0] + (zone[0] if zone and "T" in match[0] else "")
