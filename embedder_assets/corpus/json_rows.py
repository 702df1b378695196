"""JSON documents: an object of a ``.json`` file, of an array in one, or on a line of a ``.jsonl`` file.

Which fields are its text, its title and its id, ``collection.toml`` says, or else their usual names. An object without
a text becomes a list of all its fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from embedder_assets.corpus.beir import MAX_ID_CHARS, bad_row, read_lines, too_large_row
from embedder_assets.corpus.collection_options import JsonFields
from embedder_assets.corpus.document import has_lone_surrogates
from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.limits import MAX_TEXT_CHARS
from embedder_assets.corpus.metadata.values import ACL
from embedder_assets.errors import DocumentError

ROW_SUFFIXES = (".jsonl", ".ndjson")
JSON_SUFFIXES = (".json", *ROW_SUFFIXES)
_TEXT_FIELDS = ("text", "content", "body")
_TITLE_FIELDS = ("title", "name", "headline", "subject")
_ID_FIELDS = ("id", "_id")
_NAMED = 10
_MAX_LEVELS = 100


class JsonRow:
    """One object, and what becomes of it.

    Args:
        place: Where it is, for messages: a path, or ``PATH:LINE``.
        values: The object.
        fields: Which of its fields are what.
        data: The bytes that it was in.

    Attributes:
        place: Where it is.
        row_id: The id that it states; for one that states none a digest, so that rows above it do not matter.
        is_named: Whether it states one.
        size_bytes: Of ``data``.
        sha256: Of ``data``.

    Raises:
        DocumentError: With kind ``missing_id``, ``bad_json``, ``empty``, ``binary`` or ``not_utf8``.
    """

    def __init__(self, place: str, values: Mapping[str, Any], fields: JsonFields, data: bytes = b"") -> None:
        self.place = place
        self.size_bytes, self.sha256 = len(data), hashlib.sha256(data).hexdigest()
        self._values = values
        self._texts = fields.text or self._first(_TEXT_FIELDS)
        self._title = (fields.title,) if fields.title else self._first(_TITLE_FIELDS)
        self._id = (fields.id,) if fields.id else self._first(_ID_FIELDS)
        stated = self._stated_id()
        self.is_named = stated is not None
        self.row_id = stated or _digest(values)

    def extracted(self) -> Extracted:
        """Its text, title and metadata."""
        title = " ".join(self._string(self._title).split())
        text = self._string(self._texts)
        taken = {*self._texts, *self._title, *self._id}
        if text:
            others = {name: value for name, value in self._values.items() if name not in taken}
            lost = sorted(name for name, value in others.items() if name != ACL and _is_table(value))
            body = "\n\n".join(filter(None, (title, text)))
        elif self._texts and self._is_configured():
            wanted = " or ".join(self._texts)
            raise bad_row(self.place, "empty", f"a text in the field {wanted}", f"the fields {_names(self._values)}")
        else:
            others = {name: value for name, value in self._values.items() if name not in {*self._title, *self._id}}
            lost = []
            body = _listed(self.place, self._values)
        # An acl as it is, whatever it is: who reads it decides what it means.
        metadata = {name: value for name, value in others.items() if name == ACL or not _is_table(value)}
        if has_lone_surrogates(body) or has_lone_surrogates(title):
            raise bad_row(self.place, "not_utf8", "text that UTF-8 can hold", "a lone surrogate escape (\\ud800)")
        if "\0" in body:
            raise bad_row(self.place, "binary", "text", "a NUL (\\u0000)")
        omissions = (Omission("field", len(lost), f"Lists of objects: {', '.join(lost[:_NAMED])}."),) if lost else ()
        return Extracted(body, title, metadata, omissions, plain=True)

    def _is_configured(self) -> bool:
        return self._texts != self._first(_TEXT_FIELDS)

    def _first(self, names: Sequence[str]) -> tuple[str, ...]:
        """The first of some usual names that the object has with something in it, in any case."""
        by_name = {name.lower(): name for name in reversed(list(self._values))}
        found = (by_name[name] for name in names if name in by_name)
        return next(((name,) for name in found if self._values[name] not in (None, "", [], {})), ())

    def _string(self, names: Sequence[str]) -> str:
        values = (_value_at(self._values, name) for name in names)
        texts = (value if isinstance(value, str) else _listed(self.place, value) for value in values)
        return "\n\n".join(text.replace("\r\n", "\n").replace("\r", "\n").strip() for text in texts if text.strip())

    def _stated_id(self) -> str | None:
        value = _value_at(self._values, self._id[0]) if self._id else None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and len(value) > MAX_ID_CHARS:
            got = f"{len(value):,} characters"
            raise bad_row(self.place, "missing_id", f"an id of at most {MAX_ID_CHARS:,} characters", got)
        if isinstance(value, str) and (has_lone_surrogates(value) or "\0" in value):
            raise bad_row(self.place, "not_utf8", "an id that UTF-8 can hold", "a lone surrogate or a NUL")
        return value.strip() or None if isinstance(value, str) else None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why."""

    place: str
    error: DocumentError


def rows_of_lines(path: str, lines: IO[bytes], fields: JsonFields, limit: int) -> Iterator[JsonRow | BadRow]:
    """The objects on the lines of a file, one of them in memory at a time.

    Args:
        path: Of the file; with the number of a line it is the place of a row.
        lines: The file.
        fields: Which fields are what.
        limit: Bytes that a line may have.
    """

    def read(place: str, line: bytes | None) -> JsonRow:
        if line is None:
            raise too_large_row(place, limit)
        try:
            return _row(place, parse(place, line.decode("utf-8")), fields, line)
        except UnicodeDecodeError as error:
            raise bad_row(place, "not_utf8", "UTF-8", f"an invalid byte at offset {error.start}") from error

    numbered = enumerate(read_lines(lines, limit), start=1)
    return _distinct(((f"{path}:{number}", line) for number, line in numbered if line is None or line.strip()), read)


def is_lines(data: bytes) -> bool:
    """Whether the content of a ``.json`` file is objects on lines, as some databases export them."""
    lines = data.strip().splitlines()[:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False


def rows_of_array(path: str, values: Sequence[Any], fields: JsonFields) -> Iterator[JsonRow | BadRow]:
    """The objects of an array; ``path`` with the number of one is its place."""

    def read(place: str, value: Any) -> JsonRow:
        return _row(place, value, fields, json.dumps(value).encode())

    return _distinct(((f"{path}:{number}", value) for number, value in enumerate(values, start=1)), read)


def parse(place: str, data: str) -> Any:
    """JSON as Python has it.

    Raises:
        DocumentError: With kind ``bad_json``.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise bad_row(place, "bad_json", "JSON", str(error)) from error


def extracted_json(place: str, value: Any, fields: JsonFields) -> Extracted:
    """A whole file of JSON that has no rows: an object, a text, or a list of values."""
    if isinstance(value, dict):
        return JsonRow(place, value, fields).extracted()
    return Extracted(value if isinstance(value, str) else _listed(place, value), plain=True)


def _row(place: str, value: Any, fields: JsonFields, data: bytes) -> JsonRow:
    if not isinstance(value, dict):
        raise bad_row(place, "bad_json", "a JSON object", type(value).__name__)
    return JsonRow(place, value, fields, data)


T = TypeVar("T")


def _distinct(values: Iterable[tuple[str, T]], read: Callable[[str, T], JsonRow]) -> Iterator[JsonRow | BadRow]:
    """Rows that differ in their ids; the same row again, without an id, is no other document."""
    first: dict[str, str] = {}
    for place, value in values:
        try:
            row = read(place, value)
            before = first.setdefault(row.row_id, place)
            if before == place:
                yield row
            elif row.is_named:
                got = f"{row.row_id!r}, already in {before}"
                raise bad_row(place, "duplicate_id", "an id that no other row has", got)
        except DocumentError as error:
            yield BadRow(place, error)


def _value_at(values: Mapping[str, Any], name: str) -> Any:
    """The value of a field; dots lead into objects, unless a field has them in its name."""
    if name in values:
        return values[name]
    head, _, rest = name.partition(".")
    inner = values.get(head)
    return _value_at(inner, rest) if rest and isinstance(inner, dict) else None


def _listed(place: str, value: Any) -> str:
    """Lines that say what a value holds, as ``pump.flow: 12``; at most one more character than a text may have."""
    lines, length = [], 0
    for line in _render(place, value, "", 1):
        lines.append(line)
        length += len(line) + 1
        if length > MAX_TEXT_CHARS:  # a long path stands in front of each value
            break
    return "\n".join(lines)


def _render(place: str, value: Any, name: str, level: int) -> Iterator[str]:
    if level > _MAX_LEVELS:
        raise bad_row(place, "too_deep", f"at most {_MAX_LEVELS} levels of nesting", "more")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _render(place, inner, f"{name}.{key}" if name else str(key), level + 1)
    elif _is_table(value):
        for number, inner in enumerate(value, start=1):
            yield from _render(place, inner, f"{name}[{number}]", level + 1)
    elif value not in (None, "", []):
        said = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        yield f"{name}: {said}" if name else said


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_table(value: Any) -> bool:
    """Whether a value is a list of objects or of lists."""
    return isinstance(value, list) and any(isinstance(each, dict | list) for each in value)


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(list(values)[:_NAMED]) or "of an empty object"


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
