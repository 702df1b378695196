"""``collection.toml`` at the top of a collection: what holds for all of its documents.

A file that cannot be used is an issue that names the line, and the rest goes on with what is closed: nothing is public.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from typing import Any

from embedder_assets.corpus.collections import COLLECTION_OPTIONS, Collection
from embedder_assets.corpus.document import DocumentIssue
from embedder_assets.corpus.source_files import own_file, read_own_file
from embedder_assets.errors import CorpusError, DocumentError, did_you_mean

BAD_OPTIONS = "bad_options"
_AT_LINE = re.compile(r"at line (\d+)")


@dataclass(frozen=True)
class JsonFields:
    """Which fields of a JSON document are its text, its title and its id; dots lead into objects.

    Attributes:
        text: The fields whose text is the document's, in this order; empty: all of them.
        title: The field of the title; empty: none.
        id: The field that names a row; empty: its place in the file does.
    """

    text: tuple[str, ...] = ()
    title: str = ""
    id: str = ""


@dataclass(frozen=True)
class CollectionOptions:
    """What holds for all documents of a collection.

    Attributes:
        public: Whether everybody may see the documents that have no ``acl``.
        author: Whether the metadata says who wrote a document, where its file does.
        json: How JSON documents are read.
        valid: Whether the file, if there is one, says all of it: where not, the rest is the default, and nothing is
            public. What was read by earlier options is better kept than read by these.
    """

    public: bool = False
    author: bool = False
    json: JsonFields = field(default_factory=JsonFields)
    valid: bool = True


_CLOSED = CollectionOptions(valid=False)


def read_options(collection: Collection) -> tuple[CollectionOptions, list[DocumentIssue]]:
    """The options of a collection, the defaults where it has no file; what is wrong with the file is an issue."""
    try:
        path = own_file(collection, COLLECTION_OPTIONS)
        if path is None:
            return CollectionOptions(), []
        text = read_own_file(path)
    except CorpusError as error:
        return _CLOSED, [DocumentIssue(collection.name, COLLECTION_OPTIONS, "unreadable", error.explanation)]
    try:
        return _options(_parsed(text), text), []
    except DocumentError as error:
        return _CLOSED, [DocumentIssue(collection.name, error.thing, error.kind, error.explanation)]


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = _AT_LINE.search(str(error))
        # Without a line, the text has ended too early.
        line = int(at[1]) if at else text.count("\n") + 1
        raise _wrong(line, "TOML", str(error)) from error


def _options(values: dict[str, Any], text: str) -> CollectionOptions:
    known = {each.name for each in fields(CollectionOptions)} - {"valid"}
    _refuse_unknown(values, known, "", text)
    json = values.get("json", {})
    if not isinstance(json, dict):
        raise _wrong(_line_of("json", "", text), "a table [json]", f"json = {json!r}")
    _refuse_unknown(json, {each.name for each in fields(JsonFields)}, "json", text)
    switches = {name: _switch(values, name, text) for name in ("public", "author")}
    names = {name: _field_name(json, name, text) for name in ("title", "id")}
    return replace(CollectionOptions(**switches), json=JsonFields(_text_fields(json, text), **names))


def _refuse_unknown(values: dict[str, Any], known: set[str], table: str, text: str) -> None:
    for key in values.keys() - known:
        expected = f"one of the keys {', '.join(sorted(known))}{f' in [{table}]' if table else ''}"
        remedy = did_you_mean(key, known, "Correct or remove it.")
        raise _wrong(_line_of(key, table, text), expected, f"the key {key!r}", remedy)


def _switch(values: dict[str, Any], key: str, text: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise _wrong(_line_of(key, "", text), f"{key} = true or {key} = false", f"{key} = {value!r}")
    return value


def _field_name(json: dict[str, Any], key: str, text: str) -> str:
    value = json.get(key, "")
    if not isinstance(value, str):
        raise _wrong(_line_of(key, "json", text), f'{key} = "NAME OF A FIELD"', f"{key} = {value!r}")
    return value


def _text_fields(json: dict[str, Any], text: str) -> tuple[str, ...]:
    value = json.get("text", [])
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _wrong(_line_of("text", "json", text), 'text = ["NAME OF A FIELD", …]', f"text = {value!r}")
    return tuple(names)


def _line_of(key: str, table: str, text: str) -> int:
    """The line of a key; tomllib does not say, so it is looked for as people write it."""
    lines = text.split("\n")
    start = next((at for at, line in enumerate(lines) if re.match(rf"\s*\[\s*{table}\s*\]", line)), 0) if table else 0
    written = re.compile(rf"\s*\[?\s*(?:{table}\s*\.\s*)?[\"']?{re.escape(key)}[\"']?\s*[\]=.]")
    return next((at for at, line in enumerate(lines[start:], start + 1) if written.match(line)), start + 1)


def _wrong(line: int, expected: str, got: str, remedy: str = "Correct it.") -> DocumentError:
    remedy = f"{remedy} Until then no document of the collection is public."
    return DocumentError(f"{COLLECTION_OPTIONS}:{line}", kind=BAD_OPTIONS, expected=expected, got=got, remedy=remedy)
