"""Collections whose documents have metadata, random filters over them, and what these keep, told one by one."""

from __future__ import annotations

import json
import operator
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from embedder_assets.embedding.dense import DenseEncoder
from embedder_assets.embedding.sparse import SparseEncoder
from embedder_assets.embedding.stage import EmbeddingStage
from embedder_assets.retrieval.search import Search
from embedder_assets.tables.schemas import SCHEMAS
from embedder_assets.tables.store import TableStore
from tests.support.factories import (
    DENSE,
    SPARSE,
    FakeTriton,
    document_text,
    make_chunks,
    make_meter,
    make_settings,
    sha256,
)


@dataclass
class Page:
    """A document with its chunks' texts. Metadata may also be any text, as a damaged table would have it."""

    doc_id: str
    texts: Sequence[str]
    metadata: Mapping[str, object] | str | None = field(default_factory=dict)
    public: bool | None = None
    collection: str = "kb"
    title: str | None = None
    media_type: str = "text/markdown"

    @property
    def fields(self) -> dict[str, object]:
        """What a filter sees of it."""
        own = {"doc_id": self.doc_id, "collection": self.collection, "media_type": self.media_type}
        metadata = self.metadata if isinstance(self.metadata, Mapping) else {}
        return {**metadata, **own, "title": self.title}


class Library:
    """Tables with documents and their chunks and vectors, as runs leave them, and searches over them."""

    def __init__(self, home: Path, pages: Iterable[Page] = (), **settings: Any) -> None:
        self.settings = make_settings(home, rerank_depth=10, **settings)
        self.triton = FakeTriton()
        self.warnings: list[str] = []
        self.pages = list(pages)
        for name in sorted({page.collection for page in self.pages}):
            self.describe(name)
            self.cut(name)
            self.embed(name)

    @property
    def store(self) -> TableStore:
        """Of a process of its own."""
        return TableStore(self.settings.home)

    def of(self, collection: str) -> list[Page]:
        return [page for page in self.pages if page.collection == collection]

    def describe(self, collection: str = "kb") -> None:
        """What the stage ``documents`` does."""
        self.store.overwrite("documents", collection, documents_of(self.of(collection)))

    def cut(self, collection: str = "kb") -> None:
        """What the stage ``chunks`` does; its commit names the documents that it read."""
        chunks = [make_chunks(*p.texts, doc_id=p.doc_id, collection=collection) for p in self.of(collection)]
        with self.store.transaction() as tables:
            tables.read("documents", collection)
            tables.overwrite("chunks", collection, pl.concat(chunks))

    def embed(self, collection: str = "kb") -> None:
        """What the stages ``dense`` and ``sparse`` do."""
        for encoder in (DenseEncoder(DENSE, "dense-1"), SparseEncoder(SPARSE, "sparse-1")):
            with self.store.transaction() as tables:
                EmbeddingStage(tables, self.triton, self.settings, [encoder]).run(collection, make_meter("dense"))

    def search(self, *names: str) -> Search:
        self.warnings.clear()
        return Search(self.store, self.triton, self.settings, names, self.warnings.append)

    def found(self, where: str | None = None, allow: Iterable[str] | None = None, top: int = 100) -> set[str]:
        """The ids of the documents that a search finds."""
        return {hit.doc_id for hit in self.search().search("red apple", top, where=where, allow=allow)}


def documents_of(pages: Sequence[Page]) -> pl.DataFrame:
    rows = [
        {
            "collection": page.collection,
            "doc_id": page.doc_id,
            "title": page.title,
            "media_type": page.media_type,
            "text": document_text(*page.texts),
            "content_sha256": sha256(document_text(*page.texts)),
            "metadata": json.dumps(page.metadata) if isinstance(page.metadata, Mapping) else page.metadata,
            "public": page.public,
        }
        for page in pages
    ]
    return pl.DataFrame([{name: row.get(name) for name in SCHEMAS["documents"]} for row in rows], SCHEMAS["documents"])


WORDS = ("red", "green", "apple", "sky", "pump", "valve", "seal", "motor", "torque", "oil")
TYPES = {"product": "text", "year": "number", "created": "time", "draft": "boolean", "keywords": "list"}
DAYS = [f"2024-0{month}-1{day}" for month in (1, 2, 3) for day in (1, 2)]
TIMES = [f"{day}T{hour}" for day in DAYS for hour in ("00:00:00Z", "12:30:00+02:00", "23:59:59.5")]
VALUES: dict[str, Sequence[Any]] = {
    "product": ("pump", "valve", "Pump", 'pump\'s "best"', "größe", ""),
    "year": (2019, 2020, 2020.0, 2021.5, -1, 0),
    "created": (*DAYS, *TIMES),
    "draft": (True, False),
    "keywords": ([], ["new"], ["new", "hot", 5], [True, "5"], ["größe", None]),
}


def random_pages(chance: random.Random, count: int, collections: Sequence[str] = ("kb", "other")) -> list[Page]:
    """Documents of one or two chunks; a field is missing now and then, null, or of another type than in the others."""
    pages = []
    for number in range(count):
        metadata = {name: chance.choice(values) for name, values in VALUES.items() if chance.random() < 0.8}
        for name in list(metadata):
            if chance.random() < 0.08:
                metadata[name] = chance.choice([None, {"a": 1}, True if name != "draft" else "yes"])
        texts = [f"{' '.join(chance.choices(WORDS, k=4))} {number} {at}" for at in range(chance.choice((1, 2)))]
        title, media = chance.choice((None, "Red", "Guide to pumps")), chance.choice(("text/plain", "text/html"))
        pages.append(Page(f"d{number:03}.md", texts, metadata, None, chance.choice(collections), title, media))
    return pages


@dataclass(frozen=True)
class Filter:
    """A filter as it is written, and as nested tuples."""

    text: str
    tree: tuple[Any, ...]


def random_filter(chance: random.Random, depth: int = 3) -> Filter:
    shape = chance.random()
    if depth and shape < 0.15:
        inner = random_filter(chance, depth - 1)
        return Filter(f"not ({inner.text})", ("not", inner.tree))
    if depth and shape < 0.55:
        word = chance.choice(("and", "OR"))
        parts = [random_filter(chance, depth - 1) for _ in range(chance.choice((2, 3)))]
        return Filter(f" {word} ".join(f"({part.text})" for part in parts), (word.lower(), *[p.tree for p in parts]))
    return _random_condition(chance)


def _random_condition(chance: random.Random) -> Filter:
    name = chance.choice((*TYPES, "title", "doc_id", "collection", "media_type"))
    kind, some = (
        TYPES.get(name, "text"),
        {"title": ("Red", "pump"), "collection": ("kb",), "doc_id": ("d001.md", "d01")},
    )
    values = VALUES.get(name) or some.get(name, ("text/html", "html"))
    quote = name if chance.random() < 0.7 else f"`{name}`"
    if chance.random() < 0.12:
        return Filter(*chance.choice(((f"{quote} is null", ("null", name)), (f"{quote} IS NOT NULL", ("there", name)))))
    if kind == "list":
        value = chance.choice(("new", "größe", 5, True, "5"))
        return Filter(f"{quote} contains {_written(chance, value)}", ("holds", name, value))
    value = chance.choice(values)
    if kind == "text" and chance.random() < 0.25:
        return Filter(f"{quote} contains {_written(chance, value)}", ("holds", name, value))
    if kind != "boolean" and chance.random() < 0.25:
        several = chance.choices(values, k=3)
        word = chance.choice(("in", "not in"))
        return Filter(f"{quote} {word} ({', '.join(_written(chance, v) for v in several)})", (word, name, several))
    symbol = chance.choice(("=", "!=") if kind == "boolean" else ("=", "!=", "<", "<=", ">", ">="))
    return Filter(f"{quote}{symbol} {_written(chance, value)}", (symbol, name, value))


def _written(chance: random.Random, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if value in (*DAYS, *TIMES) and chance.random() < 0.5:
            return value
        quote = chance.choice("'\"")
        return quote + value.replace(quote, 2 * quote) + quote
    return str(value)


_OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def keeps(tree: tuple[Any, ...], fields: Mapping[str, Any]) -> bool | None:
    """What a filter says of one document: true, false, or None where it cannot say."""
    word, *rest = tree
    if word == "not":
        inner = keeps(rest[0], fields)
        return None if inner is None else not inner
    if word in ("and", "or"):
        answers = [keeps(each, fields) for each in rest]
        decisive = word == "or"
        return decisive if decisive in answers else None if None in answers else not decisive
    value = fields.get(rest[0])
    if word in ("null", "there"):
        return (value is None) == (word == "null")
    return _compared(word, value, rest[1], TYPES.get(rest[0], "text"))


def _compared(word: str, value: Any, wanted: Any, kind: str) -> bool | None:
    python = {"text": str, "number": (int, float), "time": str, "boolean": bool, "list": list}[kind]
    if not isinstance(value, python) or (isinstance(value, bool) and kind != "boolean"):
        return None
    if word == "holds" and kind == "list":
        written = str(wanted).lower() if isinstance(wanted, bool) else str(wanted)
        return written in value or any(type(each) is type(wanted) and each == wanted for each in value)
    if word == "holds":
        return wanted in value
    if word in ("in", "not in"):
        return any(_compared("=", value, each, kind) for each in wanted) == (word == "in")
    return bool(_OPERATORS[word](*(_comparable(value, wanted) if kind == "time" else (value, wanted))))


def _comparable(value: str, wanted: str) -> tuple[object, object]:
    """Times in UTC; days where one of both is a day."""
    moments = [datetime.fromisoformat(each) for each in (value, wanted)]
    utc = [(each if each.tzinfo else each.replace(tzinfo=UTC)).astimezone(UTC) for each in moments]
    return tuple(each.date() for each in utc) if min(len(value), len(wanted)) == 10 else tuple(utc)
