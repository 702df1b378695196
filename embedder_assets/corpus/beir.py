"""The JSON lines of the BEIR layout, read one line at a time: ``corpus.jsonl`` and ``queries.jsonl``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from embedder_assets.corpus.document import DocumentIssue, has_lone_surrogates
from embedder_assets.corpus.metadata.values import ACL, closes, shallow
from embedder_assets.errors import CorpusError, DocumentError

_UTF8_BOM = b"\xef\xbb\xbf"
# It is repeated in every row that is made from the document.
MAX_ID_CHARS = 1000


@dataclass(frozen=True)
class BeirRow:
    """One line: its ``_id``, title (may be empty) and text; size and digest are of its bytes, whatever they say.

    Attributes:
        metadata: Its ``metadata``, and its ``acl`` if that stands next to it.
    """

    row_id: str
    title: str
    text: str
    size_bytes: int
    sha256: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read_rows(path: Path, collection: str, *, max_row_bytes: int) -> Iterator[BeirRow | DocumentIssue]:
    """Read a file of JSON lines; a line that cannot be used becomes an issue that names the file and the line.

    Raises:
        CorpusError: If the file cannot be read.
    """
    first_line_of: dict[str, int] = {}
    for number, line in json_lines(path, max_row_bytes):
        place = f"{path.name}:{number}"
        try:
            if line is None:
                raise too_large_row(place, max_row_bytes)
            if line.strip():
                row = _parse(place, line)
                _refuse_duplicate(place, row.row_id, first_line_of.setdefault(row.row_id, number), number)
                yield row
        except DocumentError as error:
            yield DocumentIssue.from_error(collection, place, error)


def json_lines(path: Path, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Each line of a file with its number, from 1; None for one of more bytes than the limit.

    Raises:
        CorpusError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from enumerate(read_lines(file, limit), start=1)
    except OSError as error:
        raise CorpusError(
            str(path),
            expected="a file that can be read",
            got=f"{type(error).__name__}: {error.strerror}",
            remedy="Change its permissions, or replace the file.",
        ) from error


def read_lines(file: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Yield each line, or None for one over the limit, of which never more than the limit is in memory."""
    first = True
    while line := file.readline(limit + 1):
        too_long = len(line) > limit and not line.endswith(b"\n")
        rest = line
        while too_long and rest and not rest.endswith(b"\n"):
            rest = file.readline(limit + 1)
        yield None if too_long else line.removeprefix(_UTF8_BOM if first else b"")
        first = False


def _parse(place: str, line: bytes) -> BeirRow:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise bad_row(place, "not_utf8", "UTF-8", f"an invalid byte at offset {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise bad_row(place, "bad_json", "one JSON object on a line", str(error)) from error
    if not isinstance(values, dict):
        raise bad_row(place, "bad_json", "a JSON object", type(values).__name__)
    row_id, title, text = _row_id(place, values), *(_string(place, values, key) for key in ("title", "text"))
    if any(has_lone_surrogates(value) for value in (row_id, title, text)):
        raise bad_row(place, "not_utf8", "text that UTF-8 can hold", "a lone surrogate escape (\\ud800 to \\udfff)")
    if "\0" in row_id + title + text:
        raise bad_row(place, "binary", "text", "a NUL (\\u0000)")
    if not (title.strip() or text.strip()):
        raise bad_row(place, "empty", "a title or a text", f"neither for _id {row_id!r}")
    return BeirRow(row_id, title, text, len(line), hashlib.sha256(line).hexdigest(), _metadata(values))


def _metadata(values: dict[str, Any]) -> dict[str, Any]:
    found = shallow(values.get("metadata"))
    if found is None:
        found = {}
    elif not isinstance(found, dict):
        # An object in a string, for example: who may see the document is then not known.
        found = {"metadata": found, **({ACL: None} if closes(json.dumps(found)) else {})}
    # Where both have one, it stands there in two spellings, which is refused.
    return {**found, "ACL": values[ACL]} if ACL in values else found


def _row_id(place: str, values: dict[str, Any]) -> str:
    value = values.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and len(value) > MAX_ID_CHARS:
        expected = f'an "_id" of at most {MAX_ID_CHARS:,} characters'
        raise bad_row(place, "missing_id", expected, f"{len(value):,} characters")
    if not isinstance(value, str) or not value:
        raise bad_row(place, "missing_id", 'a string "_id"', "none" if value is None else repr(value)[:80])
    return value


def _string(place: str, values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise bad_row(place, "bad_json", f'a string "{key}"', type(value).__name__)
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_duplicate(place: str, row_id: str, first: int, number: int) -> None:
    if first != number:
        raise bad_row(place, "duplicate_id", "an _id that no other line has", f"{row_id!r}, already on line {first}")


def bad_row(place: str, kind: str, expected: str, got: str) -> DocumentError:
    """The error of a row that cannot be used."""
    return DocumentError(place, kind=kind, expected=expected, got=got, remedy="Correct or remove this line.")


def too_large_row(place: str, limit: int) -> DocumentError:
    """The error of a row of more bytes than the limit."""
    remedy = "Split the row, or raise EMBEDDER_MAX_DOCUMENT_MB."
    got = f"more than {limit} bytes"
    return DocumentError(place, kind="too_large", expected=f"at most {limit} bytes", got=got, remedy=remedy)
