"""From what a source says of itself to the columns ``metadata`` and ``public`` of ``documents``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import polars as pl

from embedder_assets.corpus.collection_options import CollectionOptions, read_options
from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.metadata.fields import FieldCounts
from embedder_assets.corpus.metadata.rules import BAD_METADATA, MetadataRules, read_rules
from embedder_assets.corpus.metadata.values import ACL, Fields, clean, to_json
from embedder_assets.sanitize import one_line
from embedder_assets.tables.schemas import SCHEMAS

# What of a document is looked at, and what is made of it.
SOURCE = ["doc_id", "source_metadata"]
RESOLVED = ["metadata", "public"]
_NOTHING = "{}"
_MOST_NAMED = 100
_OTHERS = ("…", "more fields have values that metadata cannot have")


class MetadataResolver:
    """Merges what sources say with ``metadata.jsonl`` and ``collection.toml`` of their collection.

    Args:
        collection: The collection.
        listed: Whether its folder could be listed; where not, its files are not asked for.
    """

    def __init__(self, collection: Collection, *, listed: bool = True) -> None:
        self._collection = collection.name
        options, issues = read_options(collection) if listed else (CollectionOptions(), [])
        self._public = options.public
        self._rules, more = read_rules(collection) if listed else (MetadataRules(), [])
        self._issues = [*issues, *more]
        self._counts = FieldCounts()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}

    def resolved(self, documents: pl.DataFrame, *, count: bool = False) -> pl.DataFrame:
        """Documents with their metadata.

        Args:
            documents: At least the columns of ``SOURCE``.
            count: Whether they count in ``fields`` and ``issues``; each document of the collection has to, once.

        Returns:
            The same rows, with the columns of ``RESOLVED``.
        """
        fields = [self._fields(*row, count=count) for row in documents.select(SOURCE).iter_rows()]
        public = [self._public and ACL not in each for each in fields]
        return documents.with_columns(
            pl.Series("metadata", [to_json(each) if each else _NOTHING for each in fields], pl.String()),
            pl.Series("public", public, pl.Boolean()),
        )

    def fields(self) -> pl.DataFrame:
        """The rows of ``metadata_fields``."""
        return self._counts.table(self._collection)

    def issues(self) -> pl.DataFrame:
        """What is wrong with the files and the values: rows of ``document_issues`` without ``first_seen``."""
        found: list[dict[str, object]] = [vars(issue) for issue in self._issues]
        found += [vars(issue) for issue in self._rules.unmatched(self._collection)]
        found += [*self._counts.issues(), *self._refusals()]
        rows = [{"collection": self._collection, **row} for row in found]
        return pl.DataFrame(rows, schema=SCHEMAS["document_issues"]).drop("first_seen")

    def _fields(self, doc_id: str, source: str | None, *, count: bool) -> Fields:
        fields: Fields = {}
        if source is not None and source != _NOTHING:
            fields, problems = clean(json.loads(source))
            if count and problems:
                self._refuse(doc_id, problems)
        for more in self._rules.fields_of(doc_id):
            fields |= more
        fields = {name: value for name, value in fields.items() if value is not None and name != "title"}
        if count:
            self._counts.add(doc_id, fields)
        return fields

    def _refuse(self, doc_id: str, problems: dict[str, str]) -> None:
        for each in problems.items():
            # All others together.
            key = each if each in self._refused or len(self._refused) < _MOST_NAMED else _OTHERS
            self._refused[key] += 1
            self._examples[key] = min(doc_id, self._examples.get(key, doc_id))

    def _refusals(self) -> Iterator[dict[str, object]]:
        """One row for each field that some documents have and metadata cannot have."""
        for (name, problem), count in sorted(self._refused.items()):
            others = f" The same in {count - 1} other documents." if count > 1 else ""
            message = one_line(f"field '{name}': {problem}.{others}")
            example = self._examples[name, problem]
            yield {"path": example, "kind": BAD_METADATA, "message": message, "part": name, "count": count}
