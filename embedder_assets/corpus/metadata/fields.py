"""The schema of a collection's metadata, inferred: which fields there are, of which type, and where they disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import polars as pl

from embedder_assets.corpus.metadata.values import FIELD_TYPES, MAX_FIELDS, Fields, FieldType, type_of
from embedder_assets.sanitize import one_line
from embedder_assets.tables.schemas import SCHEMAS

CONFLICT = "metadata_conflict"


class FieldCounts:
    """Counts the types of each field over the documents of a collection; it grows with the fields alone."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[FieldType]] = defaultdict(Counter)
        self._examples: dict[tuple[str, FieldType], str] = {}
        self._uncounted = 0

    def add(self, doc_id: str, fields: Fields) -> None:
        """Counts the fields of a document."""
        for name, value in fields.items():
            if name not in self._counts and len(self._counts) == MAX_FIELDS:
                self._uncounted += 1
                continue
            found = type_of(value)
            self._counts[name][found] += 1
            key = (name, found)
            example = self._examples.get(key)
            if example is None or doc_id < example:
                self._examples[key] = doc_id

    def table(self, collection: str) -> pl.DataFrame:
        """The rows of ``metadata_fields``."""
        rows = [
            (collection, name, _majority(counts), counts.total(), _conflicts(counts))
            for name, counts in sorted(self._counts.items())
        ]
        return pl.DataFrame(rows, schema=SCHEMAS["metadata_fields"], orient="row")

    def issues(self) -> Iterator[dict[str, object]]:
        """One row for each field whose values are not all of one type: path, kind, message, part, count."""
        for name, counts in sorted(self._counts.items()):
            if conflicts := _conflicts(counts):
                kind = _majority(counts)
                others = {each: count for each, count in counts.items() if each not in _agreeing(kind)}
                words = [f"{each} in {count}, for example {self._examples[name, each]}" for each, count in _by(others)]
                most = counts.total() - conflicts
                said = f"expected {kind} as in {most} of {counts.total()} documents, got {'; '.join(words)}"
                message = one_line(f"field '{name}': {said}. Give it values of one type.")
                example = min(self._examples[name, each] for each in others)
                yield {"path": example, "kind": CONFLICT, "message": message, "part": name, "count": conflicts}
        if self._uncounted:
            message = f"more than {MAX_FIELDS} fields: {self._uncounted} values of others are not in metadata_fields."
            yield {"path": ".", "kind": CONFLICT, "message": message, "part": None, "count": self._uncounted}


def _by(counts: Mapping[FieldType, int]) -> list[tuple[FieldType, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], FIELD_TYPES.index(pair[0])))


def _majority(counts: Mapping[FieldType, int]) -> FieldType:
    # Text that happens to look like a time is text, where most of it does not.
    return _by(counts)[0][0]


def _agreeing(kind: FieldType) -> set[FieldType]:
    return {"text", "time"} if kind == "text" else {kind}


def _conflicts(counts: Counter[FieldType]) -> int:
    return counts.total() - sum(counts[kind] for kind in _agreeing(_majority(counts)))
