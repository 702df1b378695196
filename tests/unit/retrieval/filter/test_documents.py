"""The fields of documents as columns of their chunks."""

from __future__ import annotations

import polars as pl
import pytest

from embedder_assets.errors import FilterError
from embedder_assets.retrieval.filter.documents import ChunkDocuments, FieldColumns
from embedder_assets.retrieval.filter.grammar import parse
from tests.support.filtered_search import Library, Page


def columns_of(library: Library, **extra: list[int | None]) -> FieldColumns:
    chunks = library.store.read("chunks", "kb").sort("chunk_index")
    chunks = chunks.with_columns(pl.Series(name, values, pl.Int64) for name, values in extra.items())
    return FieldColumns(ChunkDocuments.read(library.store, library.store, "kb", chunks), None, set())


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path, [Page("a.pdf", ["one", "two", "three", "four"], {"page": "cover"})])


def test_pages_are_those_of_each_chunk(library):
    columns = columns_of(library, page=[1, 1, 3, None], last_page=[1, 2, 3, None])
    found = parse("page <= 2 and last_page >= 2").evaluate(columns)
    assert found.to_list() == [False, True, False, None]
    assert parse("page is null").evaluate(columns).to_list() == [False, False, False, True]
    # A field of the metadata with the name of a column.
    assert parse("metadata.page = 'cover'").evaluate(columns).to_list() == [True] * 4


def test_many_unknown_names_are_not_all_listed(tmp_path):
    pages = [Page("a.md", ["one"], {f"field{number:03}": number for number in range(100)})]
    with pytest.raises(FilterError, match=r"field013 and 86 more, got 'other'") as raised:
        parse("other = 1").evaluate(columns_of(Library(tmp_path, pages)))
    assert len(raised.value.expected) < 300


def test_table_of_an_earlier_version_has_no_fields(library):
    library.store.overwrite("documents", "kb", library.store.read("documents", "kb").with_columns(metadata=None))
    columns = columns_of(library)
    assert parse("title is null and media_type contains 'text'").evaluate(columns).to_list() == [True] * 4
