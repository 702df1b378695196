"""``metadata.jsonl`` at the top of a collection: fields for all documents whose path a glob stands for.

A line that cannot be read may have said who may see any of the documents. Where it may, nobody sees one until it is
corrected: a mistake closes and never opens.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from embedder_assets.corpus.beir import json_lines
from embedder_assets.corpus.collections import METADATA_FILE, Collection
from embedder_assets.corpus.document import DocumentIssue
from embedder_assets.corpus.metadata.globs import compile_glob, is_anchored, is_literal
from embedder_assets.corpus.metadata.values import ACL, Fields, clean, closes
from embedder_assets.corpus.source_files import own_file
from embedder_assets.errors import CorpusError, DocumentError
from embedder_assets.sanitize import one_line

BAD_METADATA = "bad_metadata"
UNMATCHED = "metadata_unmatched"
GLOB = "glob"
_MAX_LINE_BYTES = 1_000_000
_MOST_NAMED = 100
_CLOSED = "Until it is corrected, nobody may see the documents that it may be about."
_EXPECTED = 'an object with a glob and fields, such as {"glob": "manuals/**", "product": "pump"}'


@dataclass(frozen=True)
class _Rule:
    """Fields as JSON, which is smaller than the fields: there may be a line for each document."""

    line: int
    glob: str
    fields: str


class MetadataRules:
    """The lines of ``metadata.jsonl``; later ones win. It remembers which lines have stood for a document."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._matched = bytearray()
        self._paths: dict[str, list[int]] = defaultdict(list)
        self._folders: dict[str, list[int]] = defaultdict(list)
        self._names: dict[str, list[int]] = defaultdict(list)
        self._patterns: list[tuple[int, Any]] = []

    def add(self, line: int, glob: str, fields: Fields) -> None:
        """Adds a line.

        Raises:
            ValueError: The glob is no pattern.
        """
        number = len(self._rules)
        folder = re.sub(r"/(?:\*\*)?$", "", glob) if is_anchored(glob) else glob
        # Looked up, and not tried one after the other: there may be a line for each document, or for each folder.
        if is_literal(glob) and not glob.endswith("/"):
            (self._paths if is_anchored(glob) else self._names)[glob.removeprefix("/")].append(number)
        elif folder.strip("/") and folder != glob and is_literal(folder):
            self._folders[folder.strip("/")].append(number)
        else:
            self._patterns.append((number, compile_glob(glob)))
            self._paths[glob].append(number)  # a name with brackets in it stands for itself too
        self._rules.append(_Rule(line, glob, json.dumps(fields)))
        self._matched.append(0)

    def fields_of(self, doc_id: str) -> Iterator[Fields]:
        """What each line that stands for a document says, in their order; null takes a field away."""
        if not self._rules:
            return
        ends = [at for at, character in enumerate(doc_id) if character == "/"]
        found = {number for number, pattern in self._patterns if pattern.fullmatch(doc_id)}
        if self._paths:
            found.update(number for end in [*ends, None] for number in self._paths.get(doc_id[:end], ()))
        if self._folders:
            found.update(number for end in ends for number in self._folders.get(doc_id[:end], ()))
        if self._names:
            found.update(number for name in doc_id.split("/") for number in self._names.get(name, ()))
        for number in sorted(found):
            self._matched[number] = 1
            yield json.loads(self._rules[number].fields)

    def unmatched(self, collection: str) -> Iterator[DocumentIssue]:
        """An issue for each line that has stood for no document; the first hundred, and how many more there are."""
        lost = [rule for rule, matched in zip(self._rules, self._matched, strict=True) if not matched and rule.line]
        for rule in lost[:_MOST_NAMED]:
            message = f"expected a glob that stands for a document that can be used, got {rule.glob!r}. Correct it."
            yield DocumentIssue(collection, f"{METADATA_FILE}:{rule.line}", UNMATCHED, one_line(message))
        if len(lost) > _MOST_NAMED:
            message = f"{len(lost) - _MOST_NAMED} more lines stand for no document."
            yield DocumentIssue(collection, METADATA_FILE, UNMATCHED, message)


def read_rules(collection: Collection) -> tuple[MetadataRules, list[DocumentIssue]]:
    """The lines of ``metadata.jsonl``, none where there is no such file; what is wrong with it are issues."""
    rules = MetadataRules()
    issues: list[DocumentIssue] = []
    try:
        path = own_file(collection, METADATA_FILE)
        for number, line in json_lines(path, _MAX_LINE_BYTES) if path else ():
            issues += _read_line(rules, collection.name, number, line)
    except CorpusError as error:
        rules = MetadataRules()
        rules.add(0, "**", {ACL: []})
        message = f"{error.explanation} {_CLOSED}"
        issues = [DocumentIssue(collection.name, METADATA_FILE, BAD_METADATA, message)]
    return rules, issues


def _read_line(rules: MetadataRules, collection: str, number: int, line: bytes | None) -> Iterator[DocumentIssue]:
    place = f"{METADATA_FILE}:{number}"
    text = "" if line is None else line.decode("utf-8", "replace")
    if line is not None and not text.strip():
        return
    try:
        if line is None:
            raise _bad_line(place, f"a line of at most {_MAX_LINE_BYTES:,} bytes", "a longer one")
        glob, fields, problems = _parsed(place, line)
        for name, problem in problems.items():
            yield DocumentIssue(collection, place, BAD_METADATA, one_line(f"field '{name}': {problem}."))
        try:
            rules.add(number, glob, fields)
        except ValueError as error:
            raise _bad_line(place, str(error), repr(glob)) from error
    except DocumentError as error:
        closed = line is None or closes(text)
        if closed:
            rules.add(0, "**", {ACL: []})
        message = f"{error.explanation} {_CLOSED}" if closed else error.explanation
        yield DocumentIssue(collection, place, BAD_METADATA, message)


def _parsed(place: str, line: bytes) -> tuple[str, Fields, dict[str, str]]:
    try:
        values = json.loads(line.decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise _bad_line(place, "one JSON object on a line", str(error)) from error
    glob = values.pop(GLOB, None) if isinstance(values, dict) else None
    if not isinstance(glob, str) or not glob.strip("/ ") or not values:
        raise _bad_line(place, _EXPECTED, line.decode("utf-8").strip()[:120])
    fields, problems = clean(values)
    if fields.pop("title", None) is not None:
        problems["title"] = "expected fields next to the title, which is the document's own, got one for it"
    return glob, fields, problems


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key that stands twice in an object")
    return values


def _bad_line(place: str, expected: str, got: str) -> DocumentError:
    return DocumentError(place, kind=BAD_METADATA, expected=expected, got=got, remedy="Correct or remove this line.")
