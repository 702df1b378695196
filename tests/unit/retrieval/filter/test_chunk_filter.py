"""A filtered search is a search over collections that hold nothing else."""

from __future__ import annotations

import random

import polars as pl
import pytest

from embedder_assets.errors import FilterError
from embedder_assets.retrieval.consistent_view import needed_versions
from embedder_assets.retrieval.exact_index import ExactBlock
from embedder_assets.retrieval.fusion import FuseStage, RetrievalModels
from embedder_assets.retrieval.fusion_score import convex_combination, merge_rankings
from embedder_assets.retrieval.hnsw_index import HnswIndex, HnswIndexStage, usearch_installed
from embedder_assets.tables import maintenance
from embedder_assets.tables.history import commits_of, restore
from embedder_assets.tables.schemas import SCHEMAS
from tests.support.factories import make_meter, make_queries
from tests.support.filtered_search import TYPES, Library, Page, keeps, random_filter, random_pages

QUERIES = ("red apple", "torque of a pump", "oil")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Library:
    library = Library(
        tmp_path_factory.mktemp("home"), random_pages(random.Random(1), 150), enable_rerank=False, candidate_depth=400
    )
    declare(library)
    return library


def declare(library: Library) -> None:
    """The types of the fields, as a run would write them."""
    for name in ("kb", "other"):
        rows = [(name, field, kind, 1, 0) for field, kind in TYPES.items()]
        library.store.replace("metadata_fields", name, pl.DataFrame(rows, SCHEMAS["metadata_fields"], orient="row"))


def kept_by(library: Library, tree) -> set[tuple[str, str]]:
    return {(page.collection, page.doc_id) for page in library.pages if keeps(tree, page.fields)}


def test_random_filters_keep_what_they_say(library):
    chance, search = random.Random(2), library.search()
    sizes = set()
    for _ in range(300):
        wanted = random_filter(chance)
        hits = search.search("red apple", 1000, where=wanted.text)
        kept = kept_by(library, wanted.tree)
        assert {(hit.collection, hit.doc_id) for hit in hits} == kept, wanted.text
        sizes.add(len(kept) * 10 // len(library.pages))
    assert sizes >= set(range(10)), "filters that keep few and many"


def exhaustive(search, query: str, kept: set[tuple[str, str]], depth: int) -> list[str]:
    """The fused ranking after everything has been ranked and the rest was taken out."""
    documents = dict(zip(search._chunks["chunk_id"], search._chunks.select("collection", "doc_id").rows(), strict=True))
    fuse, queries = search._fuse, pl.DataFrame({"query_id": [""], "text": [query]})
    models, encoder = (
        fuse._models,
        fuse.encoder(make_meter("fuse")),
    )
    everything = search._chunks.height

    def only_kept(ranking: pl.DataFrame) -> pl.DataFrame:
        rows = ranking.filter(pl.Series([documents[chunk] in kept for chunk in ranking["chunk_id"]], dtype=pl.Boolean))
        return rows.with_columns(rank=pl.int_range(1, pl.len() + 1)).head(depth)

    dense = only_kept(search._index.rank_dense(0, encoder.dense(models.dense[0], queries), everything))
    sparse = only_kept(search._index.rank_sparse(encoder.sparse(models.sparse, queries), everything))
    candidates = merge_rankings([dense], sparse)
    return convex_combination(candidates, depth, search._dense_weight)["chunk_id"].to_list()


@pytest.mark.parametrize("depth", [5, 100])
def test_hits_are_those_of_an_exhaustive_ranking(tmp_path, depth):
    library = Library(tmp_path, random_pages(random.Random(3), 80), enable_rerank=False, candidate_depth=depth)
    declare(library)
    chance, search = random.Random(4), library.search()
    for _ in range(60):
        wanted, query, top = random_filter(chance), chance.choice(QUERIES), chance.choice((1, 10, 40))
        expected = exhaustive(search, query, kept_by(library, wanted.tree), depth)[:top]
        assert [hit.chunk_id for hit in search.search(query, top, where=wanted.text)] == expected


def test_scores_and_ranks_are_as_if_nothing_else_were_there(tmp_path):
    pages = random_pages(random.Random(5), 60)
    whole = Library(tmp_path / "whole", pages)
    where, only = 'product = "pump" or year >= 2020', []
    for page in pages:
        keep = keeps(("or", ("=", "product", "pump"), (">=", "year", 2020)), page.fields)
        only += [page] if keep else []
    part = Library(tmp_path / "part", only)
    asked = len(whole.triton.requests)
    found = whole.search().search("red apple", 20, where=where)
    assert found == part.search().with_metadata(part.search().search("red apple", 20))
    assert len(found) == 20
    # The reranker has seen no other text.
    texts = {text for page in only for text in page.texts}
    assert {row[1] for rows in whole.triton.requests[asked:] for row in rows if len(row) == 2} <= texts


def test_ten_hits_where_ten_match(library):
    few = [page.doc_id for page in library.pages if page.collection == "kb"][-10:]
    where = f"collection = 'kb' and doc_id in ({', '.join(map(repr, few))})"
    assert {hit.doc_id for hit in library.search().search("red apple", 20, where=where)} == {*few}


def test_filter_that_keeps_nothing_asks_no_model(library):
    search = library.search()
    asked = len(library.triton.requests)
    assert search.search("red apple", 10, where="doc_id = 'none such'") == []
    assert len(library.triton.requests) == asked


def test_unfiltered_search_reads_no_documents(library, monkeypatch):
    search = library.search()
    monkeypatch.setattr(search._filter, "_refresh", lambda: pytest.fail("documents were read"))
    assert search.search("red apple", 3)[0].metadata == {}


@pytest.fixture
def small(tmp_path) -> Library:
    pages = [
        Page("a.md", ["red apple"], {"year": 2020, "Size": "L", "title": "from the file", "product.name": "pump"}),
        Page("b.md", ["blue sky"], {"year": 2021, "two words": "x"}, title="Sky"),
        Page("c.md", ["green tree"], {"year": "unknown", "tags": ["x"]}),
        Page("d.md", ["white snow"], {"month": "may", "year": "none"}, collection="other"),
        Page("e.md", ["black coal"], None, collection="other"),
    ]
    return Library(tmp_path, pages)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("size = 'l'", set()),
        ("Size = 'L'", {"a.md"}),
        ("YEAR > 2000 and collection = 'kb'", None),
        ("`two words` = 'x'", {"b.md"}),
        ("product.name = 'pump'", {"a.md"}),
        ("metadata.title contains 'file'", {"a.md"}),
        ("title is null and tags is null", {"a.md", "d.md", "e.md"}),
        ("year is not null", {"a.md", "b.md", "c.md", "d.md"}),
        ("not tags contains 'x'", set()),
        ("month = 'may' or tags contains 'x'", {"c.md", "d.md"}),
        ("collection != 'kb'", {"d.md", "e.md"}),
    ],
)
def test_fields_by_name(small, where, expected):
    if expected is None:
        # The same field is a text in the other collection.
        with pytest.raises(FilterError, match="a field of type text in collection 'other'"):
            small.found(where)
        return
    if where.startswith("size"):
        with pytest.raises(FilterError, match=r"Did you mean 'Size'\?"):
            small.found(where)
        return
    assert small.found(where) == expected


def found_in_kb(library: Library, where: str) -> set[str]:
    return {hit.doc_id for hit in library.search("kb").search("red apple", 9, where=where)}


def test_value_of_another_type_is_neither_equal_nor_unequal(small):
    for where in ("year != 2020", "not year = 2020", "year is null or year != 2020", "year not in (2020, 7)"):
        assert found_in_kb(small, where) == {"b.md"}


@pytest.mark.parametrize(
    ("where", "at", "words"),
    [
        ("yaer >= 2020", 0, "expected one of the fields collection, doc_id, .*year.*Did you mean 'year'"),
        ("tags = 'x'", 0, "expected contains, .* type list .* Write tags contains"),
        ("doc_id = 5", 9, "expected a text: 'doc_id' is a field of type text .* got the number 5"),
        ("month > 'a' and title > 2020-01-01", 24, "got the time 2020-01-01. Write it in quotes"),
    ],
)
def test_misfits_are_named_and_pointed_at(small, where, at, words):
    with pytest.raises(FilterError, match=words) as raised:
        small.found(where)
    assert str(raised.value).split("\n")[1:] == [f"  {where}", f"  {' ' * at}^"]


def test_number_field_is_not_compared_with_text(small):
    with pytest.raises(FilterError, match=r"expected a number without quotes: 'year' is a field of type number"):
        small.search("kb").search("red apple", 5, where="year = '2020'")


def test_declared_type_holds_against_the_values(small):
    rows = [("kb", "year", "text", 3, 2), ("other", "year", "text", 1, 0)]
    for row in rows:
        small.store.replace("metadata_fields", row[0], pl.DataFrame([row], SCHEMAS["metadata_fields"], orient="row"))
    assert small.found("year = 'unknown'") == {"c.md"}


def test_hits_show_the_metadata_of_their_documents(small):
    search = small.search()
    (hit,) = search.search("red apple", 5, where="tags contains 'x'")
    assert hit.metadata == {"year": "unknown", "tags": ["x"]}
    assert [each.metadata for each in search.with_metadata([hit])] == [hit.metadata]


def test_metadata_that_changed_is_seen_by_the_next_query(small):
    search = small.search()
    assert search.search("red apple", 5, where="month = 'june'") == []
    small.pages[3].metadata = {"month": "june"}
    small.describe("other")
    asked = len(small.triton.requests)
    assert [hit.doc_id for hit in search.search("red apple", 5, where="month = 'june'")] == ["d.md"]
    assert all(len(row) == 2 or row == ("red apple",) for rows in small.triton.requests[asked:] for row in rows)


def test_chunks_of_an_earlier_text_have_its_metadata(small):
    small.pages[0].texts, small.pages[0].metadata = ["red cherry"], {"year": 1999}
    small.pages[1].metadata = {"year": 1999}
    del small.pages[2]
    small.describe()
    small.cut()
    # No vectors yet: the search answers from the earlier chunks. One of their documents is gone, one has another text.
    assert found_in_kb(small, "year = 2020") == {"a.md"}
    assert found_in_kb(small, "tags contains 'x'") == {"c.md"}
    assert found_in_kb(small, "year = 1999") == {"b.md"}
    small.embed()
    assert found_in_kb(small, "year = 1999") == {"a.md", "b.md"}


def test_maintenance_keeps_the_documents_of_earlier_chunks(small, monkeypatch):
    small.pages[0].texts, small.pages[0].metadata = ["red cherry"], {"year": 1999}
    small.describe()
    small.cut()
    monkeypatch.setattr(maintenance, "SHORTEST_HOURS", 0)
    for _ in range(2):
        maintenance.maintain(small.store, 0, needed=lambda: needed_versions(small.store))
        assert found_in_kb(small, "year = 2020") == {"a.md"}
    small.embed()
    assert "documents" not in needed_versions(small.store)


def test_restored_chunks_have_the_newest_metadata_of_their_text(small):
    small.pages[0].texts = ["red cherry"]
    small.describe()
    small.cut()
    small.embed()
    (_, earlier, *_) = commits_of(small.store, "chunks", "kb")
    restore(small.store, "chunks", earlier.version, "kb")
    small.embed()
    # The restored chunk of the earlier text does not say what it was cut from.
    assert found_in_kb(small, "year is null") == {"a.md"}
    assert found_in_kb(small, "`two words` = 'x'") == {"b.md"}


@pytest.mark.skipif(not usearch_installed(), reason="needs the extra 'approximate'")
def test_one_percent_of_a_large_collection_is_found_exactly(tmp_path):
    pages = [Page(f"d{at:04}.md", [f"text {at} of many", f"more {at}"], {"part": at % 100}) for at in range(1000)]
    library = Library(tmp_path, pages, enable_rerank=False, approximate_above=1)
    queries = [f"question {number}" for number in range(30)]
    library.store.replace("queries", "kb", make_queries(*queries))
    models = RetrievalModels.of(library.settings, library.triton)
    FuseStage(library.store, library.triton, library.settings, models).run("kb", make_meter("fuse"))
    assert HnswIndexStage(library.store, library.settings).run("kb", models.dense)
    search = library.search()
    library.settings = library.settings.model_copy(update={"approximate_above": 0})
    exact = library.search()
    assert [type(search._index.dense[0][0]), type(exact._index.dense[0][0])] == [HnswIndex, ExactBlock]
    for number, query in enumerate(queries):
        where = f"part = {number}"
        found = search.search(query, 10, where=where)
        assert len(found) == 10
        assert found == exact.search(query, 10, where=where)
