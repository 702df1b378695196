"""The fields of a document's metadata: text, number, boolean, time (text in ISO 8601) or list of text.

``acl`` lists who may see a document. It is never guessed: one that is not a list of text gives access to nobody.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

from embedder_assets.corpus.document import has_lone_surrogates

Fields = dict[str, Any]
FieldType = Literal["text", "time", "number", "boolean", "list"]
FIELD_TYPES: tuple[FieldType, ...] = get_args(FieldType)
"""Of types that equally many documents have, the first one is that of the field."""

ACL = "acl"
AUTHOR = "author"
# Of one field. Longer ones are texts or data, which belong into the document.
MAX_VALUE_CHARS = 10_000
MAX_FIELDS = 1000  # of a document, and of a collection
_MAX_DEPTH = 10
_INT64 = range(-(2**63), 2**63)
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?")
_EXPECTED = "text, a number, true, false or a list of text"


def clean(raw: Mapping[str, Any]) -> tuple[Fields, dict[str, str]]:
    """The fields of a JSON object that metadata can have, with objects in it flattened to ``a.b``.

    Args:
        raw: What a source says.

    Returns:
        The fields by their names in lower case; and what cannot be one, each with the reason. A field without a value
        (null, an empty list, blank text) is None where the source has it so.
    """
    fields: Fields = {}
    problems: dict[str, str] = {}
    for name, value in _flattened(raw):
        whole = _field_of(name)
        try:
            if not whole:
                raise ValueError("expected a name of the field, got one that is no text")
            if whole in fields:
                raise ValueError("expected each field once, got it in two spellings")
            if len(fields) == MAX_FIELDS:
                raise ValueError(f"expected at most {MAX_FIELDS} fields, got more")
            fields[whole] = _acl(name, value) if whole == ACL else _value(value)
        except ValueError as error:
            problems[_printable(whole or name)] = str(error)
            if whole == ACL:
                fields[ACL] = []
    return fields, problems


def closes(text: str) -> bool:
    """Whether text that cannot be read may have said who may see a document."""
    return ACL in text.lower() or "\\u" in text


def stated(raw: Mapping[str, Any], *, author: bool) -> Fields:
    """What a source says of itself, without who wrote it unless that is asked for.

    What lies deeper than a field can is left out, so that JSON of it can be read anywhere.
    """
    return {name: shallow(value) for name, value in raw.items() if author or not _names_author(name)}


def shallow(value: Any, depth: int = 1) -> Any:
    """A JSON value without what is in more objects and lists than ``clean`` takes."""
    if isinstance(value, dict):
        return {name: shallow(each, depth + 1) for name, each in value.items()} if depth <= _MAX_DEPTH else {}
    if isinstance(value, list):
        return [shallow(each, depth + 1) for each in value] if depth <= _MAX_DEPTH else []
    return value


def type_of(value: Any) -> FieldType:
    """The type of the value of a field."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return "list"
    return "time" if is_time(value) else "text"


def is_time(text: str) -> bool:
    """Whether text is a date, or a date and a time, in ISO 8601."""
    # Most text is none: a look at one character is the quickest one.
    if text[4:5] != "-" or not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def to_json(fields: Mapping[str, Any]) -> str:
    """Fields as the tables hold them: the same text for the same fields."""
    return json.dumps(fields, ensure_ascii=False, sort_keys=True)


def _flattened(values: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{str(key).strip().lower()}"
        if isinstance(value, dict) and name != ACL and depth < _MAX_DEPTH:
            yield from _flattened(value, f"{name}.", depth + 1)
        else:
            yield name, value


@functools.lru_cache(maxsize=4 * MAX_FIELDS)  # most documents have the same few
def _field_of(name: str) -> str:
    """The field that a name is of; empty where it cannot be one."""
    if not name.strip(".") or has_lone_surrogates(name) or "\0" in name:
        return ""
    return ACL if name.split(".", maxsplit=1)[0] == ACL else name


def _names_author(name: str) -> bool:
    return name.strip().lower().split(".")[0] in (AUTHOR, f"{AUTHOR}s")


def _value(value: Any) -> Any:
    if isinstance(value, list):
        value = [_item(item) for item in value if item is not None] or None
        _refuse_long(value or ())
    elif isinstance(value, str):
        value = _text(value) if value and not value.isspace() else None
        _refuse_long((value or "",))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number, got one that is not")
    elif isinstance(value, int) and value not in _INT64:
        raise ValueError("expected a number of 64 bits, got a larger one")
    elif isinstance(value, dict):
        raise ValueError(f"expected {_EXPECTED}, got objects in more than {_MAX_DEPTH} levels")
    return value


def _item(item: Any) -> str:
    if isinstance(item, list | dict):
        raise ValueError(f"expected {_EXPECTED}, got a list of {'lists' if isinstance(item, list) else 'objects'}")
    return _text(item) if isinstance(item, str) else json.dumps(item)


def _acl(name: str, value: Any) -> list[str]:
    """Who may see a document, from a list of text or one text.

    Raises:
        ValueError: It is anything else.
    """
    names = [value] if isinstance(value, str) else value
    if name != ACL or not isinstance(names, list) or not all(isinstance(each, str) and each.strip() for each in names):
        got = f"a field '{name}'" if name != ACL else f"a value of another type ({type(value).__name__})"
        raise ValueError(f'expected a list of text such as ["group:finance"], got {got}. Nobody may see the document')
    _refuse_long(names)
    return list(dict.fromkeys(_text(each).strip() for each in names))


def _text(value: str) -> str:
    if (not value.isascii() and has_lone_surrogates(value)) or "\0" in value:
        raise ValueError("expected text that UTF-8 can hold, got a NUL or a lone surrogate")
    return value


def _refuse_long(texts: Sequence[str]) -> None:
    if sum(map(len, texts)) > MAX_VALUE_CHARS:
        raise ValueError(f"expected a value of at most {MAX_VALUE_CHARS:,} characters, got a longer one")


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()[:200]
