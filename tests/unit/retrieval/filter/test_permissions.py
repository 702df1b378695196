"""Who may see a document, in the rule and in what a search says."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import polars as pl
import pytest

from embedder_assets.errors import FilterError
from embedder_assets.retrieval.filter.permissions import groups_of, may_see, readers_of
from embedder_assets.retrieval.search import Search
from embedder_assets.tables.schemas import SCHEMAS
from tests.support.filtered_search import Library, Page

FINANCE = frozenset({"group:finance"})


@pytest.mark.parametrize(
    ("metadata", "public", "seen"),
    [
        ({"acl": ["group:finance"]}, None, True),
        ({"acl": ["group:hr", "group:finance"]}, False, True),
        ({"acl": ["group:hr"]}, True, False),
        ({"acl": []}, True, False),
        ({}, True, True),
        ({}, False, False),
        ({}, None, False),
        ({"acl": ["Group:Finance"]}, True, False),
        ({"acl": ["group:finance "]}, True, False),
        ({"acl": ["group:finance2", "group:financ"]}, True, False),
        # Malformed.
        ({"acl": None}, True, False),
        ({"acl": "group:finance"}, True, False),
        ({"acl": {"group:finance": True}}, True, False),
        ({"acl": ["group:finance", 5]}, True, False),
        ({"acl": [["group:finance"]]}, True, False),
        ({"ACL": ["group:finance"]}, True, False),
        ({"acl": ["group:finance"], "Acl ": ["group:hr"]}, True, False),
        (None, True, False),
    ],
)
def test_rule(metadata, public, seen):
    assert may_see(FINANCE, readers_of(metadata, public)) is seen


def test_no_group_and_no_permissions_are_different():
    assert groups_of(None) is None
    assert groups_of([]) == groups_of([""]) == frozenset()
    assert groups_of("group:finance") == FINANCE
    assert not may_see(groups_of([""]), readers_of({"acl": [""]}, True))


def acl_library(tmp_path) -> Library:
    pages = [
        Page("open.md", ["red apple"], {}, public=True),
        Page("closed.md", ["blue sky"], {}, public=False),
        Page("finance.md", ["green tree"], {"acl": ["group:finance"], "budget": 5}),
        Page("staff.md", ["white snow"], {"acl": ["group:hr", "group:finance"]}, public=True),
        Page("nobody.md", ["black coal"], {"acl": []}, public=True),
        Page("broken.md", ["grey stone"], "{not json", public=True),
        Page("list.md", ["pink rose"], "[1]", public=True),
    ]
    return Library(tmp_path, pages)


@pytest.fixture
def library(tmp_path) -> Library:
    return acl_library(tmp_path)


def test_search_shows_what_a_reader_may_see(library):
    assert library.found() == {page.doc_id for page in library.pages}
    assert library.found(allow=[]) == {"open.md"}
    assert library.found(allow=["group:finance"]) == {"open.md", "finance.md", "staff.md"}
    assert library.found(allow=["group:hr", "group:none"]) == {"open.md", "staff.md"}
    assert library.found("budget >= 5", ["group:finance"]) == {"finance.md"}


def test_documents_without_a_row_are_closed(library):
    library.store.remove("documents", "kb")
    assert library.found(allow=["group:finance"]) == set()
    assert len(library.found()) == len(library.pages)


def test_document_that_is_there_twice_is_closed(library):
    twice = library.store.read("documents", "kb").filter(doc_id="open.md")
    library.store.append("documents", twice)
    assert library.found(allow=[]) == set()


def test_changed_acl_holds_at_once_and_computes_no_vector(library):
    search = library.search()

    def found(group: str) -> set[str]:
        return {hit.doc_id for hit in search.search("red apple", 9, allow=[group])}

    assert found("group:finance") == {"open.md", "finance.md", "staff.md"}
    library.pages[2].metadata = {"acl": ["group:hr"]}
    library.pages[0].public = False
    vectors = [library.store.version(table) for table in ("dense_embeddings", "sparse_embeddings")]
    asked = len(library.triton.requests)
    library.describe()
    library.embed()
    assert [library.store.version(table) for table in ("dense_embeddings", "sparse_embeddings")] == vectors
    assert len(library.triton.requests) == asked
    # In a search that has been open all the time, and in a new one.
    assert found("group:finance") == library.found(allow=["group:finance"]) == {"staff.md"}
    assert found("group:hr") == {"finance.md", "staff.md"}


def test_newest_permissions_hold_for_earlier_chunks(library):
    library.pages[0].texts, library.pages[0].public = ["red cherry"], False
    library.pages[2].texts = ["green bush"]
    # What was closed is replaced by something that all may see: the earlier text is still closed.
    library.pages[1].texts, library.pages[1].public = ["blue sea"], True
    del library.pages[3]
    library.describe()
    library.cut()
    assert {hit.state for hit in library.search().search("red apple", 9)} == {"earlier"}
    assert library.found(allow=["group:finance"]) == {"finance.md"}
    library.embed()
    assert library.found(allow=["group:finance"]) == {"finance.md", "closed.md"}


def test_unreadable_earlier_documents_are_closed(library, monkeypatch):
    library.pages[2].texts = ["green bush"]
    library.describe()
    # Whoever wrote the chunks did not say which documents they were made from.
    library.store.overwrite("chunks", "kb", library.store.read("chunks", "kb"))
    assert library.found(allow=["group:finance"]) == {"open.md", "staff.md"}
    assert "finance.md" in library.found("doc_id = 'finance.md' and title is null")


def test_errors_name_only_fields_that_a_reader_may_see(library):
    with pytest.raises(FilterError, match="Did you mean 'budget'") as raised:
        library.found("budgets = 5", ["group:finance"])
    assert "budget" in raised.value.expected
    with pytest.raises(FilterError) as raised:
        library.found("budgets = 5", ["group:hr"])
    assert "budget" not in raised.value.expected + raised.value.remedy
    # Its very existence is not told: it is as unknown as any other.
    with pytest.raises(FilterError, match="expected one of the fields"):
        library.found("budget = 5", ["group:hr"])


def test_type_of_a_field_does_not_tell_of_hidden_documents(tmp_path):
    pages = [Page(f"{n}.md", [f"red {n}"], {"acl": ["hr"], "size": f"text {n}"}) for n in range(5)]
    library = Library(tmp_path, [*pages, Page("open.md", ["red apple"], {"size": 7}, public=True)])
    declared = [("kb", "size", "text", 6, 1), ("kb", "secret", "text", 0, 0)]
    for rows in ([], declared):
        frame = pl.DataFrame(rows, SCHEMAS["metadata_fields"], orient="row")
        library.store.replace("metadata_fields", "kb", frame)
        assert library.found("size = 7", []) == {"open.md"}
        with pytest.raises(FilterError, match="type text"):
            library.found("size = 7")
        with pytest.raises(FilterError) as raised:
            library.found("secre = 7", [])
        assert "secret" not in str(raised.value)


def test_reader_who_sees_nothing_gets_no_error_either(library):
    library.pages[0].public = False
    library.describe()
    assert library.found("budget >= 5", ["group:none"]) == library.found("doc_id = 5", []) == set()


GROUPS = ("a", "b", "c", "A", "ab", "group:a")


def random_acl(chance: random.Random) -> object:
    if chance.random() < 0.2:
        return chance.choice((None, "a", {"a": 1}, ["a", 5], [["a"]], 7, True, [None]))
    return chance.choices(GROUPS, k=chance.choice((0, 1, 1, 2)))


def secret_pages(chance: random.Random, count: int) -> list[Page]:
    """Documents that nothing but a hit of their own may tell of: each has words, an id, a title and a field for it."""
    pages = []
    for number in range(count):
        mark = f"mark{number:03}x"
        metadata: dict[str, object] = {f"field-{mark}": mark, "year": chance.choice((2019, 2020, f"year-{mark}"))}
        if chance.random() < 0.7:
            metadata[chance.choice(("acl", "acl", "acl", "ACL"))] = random_acl(chance)
        text = "{" if chance.random() < 0.05 else metadata
        public, collection = chance.choice((True, True, False, None)), chance.choice(("kb", "other", "third"))
        words = [f"{chance.choice(('red apple', 'blue sky'))} text-{mark} {at}" for at in range(chance.choice((1, 2)))]
        pages.append(Page(f"id-{mark}.md", words, text, public, collection, f"title-{mark}"))
    return pages


def readable(page: Page, allow: list[str]) -> bool:
    """The rule in other words."""
    if not isinstance(page.metadata, dict) or "ACL" in page.metadata:
        return False
    if "acl" not in page.metadata:
        return page.public is True
    acl = page.metadata["acl"]
    return isinstance(acl, list) and all(type(each) is str for each in acl) and any(each in allow for each in acl)


CONDITIONS = (
    None,
    "year >= 2020",
    "year = 2019 or title contains 'title'",
    "not doc_id contains 'mark00'",
    "collection in ('kb', 'third')",
    "acl is null",
    "acl contains 'a'",
    "yeer = 1",
    "title > 5",
    "`field-{mark}` is not null",
    "field-{mark} = '{mark}'",
    "title contains '{mark}'",
    "year = 'year-{mark}'",
    "field-{mark}y = 1",
)


def test_a_thousand_random_permissions_leak_nothing(tmp_path):
    chance = random.Random(7)
    library = Library(tmp_path, secret_pages(chance, 60))
    search, shown, refused = library.search(), 0, 0
    for number in range(1000):
        if number % 100 == 99:
            one = chance.choice(library.pages)
            one.metadata, one.public = {"acl": random_acl(chance)}, chance.choice((True, False))
            library.describe(one.collection)
        if number == 500:
            # From here on the newest chunks of a collection have no vectors, and some of its documents are gone.
            for page in library.of("kb")[:4]:
                page.texts = [f"red apple new-{page.doc_id}"]
            library.pages.remove(library.of("kb")[5])
            library.describe("kb")
            library.cut("kb")
            search = library.search()
        allow = chance.choices(GROUPS, k=chance.choice((0, 1, 2)))
        mark = chance.choice(library.pages).doc_id.removeprefix("id-").removesuffix(".md")
        where = chance.choice(CONDITIONS)
        where = where and where.format(mark=mark)
        said = list(library.warnings)
        try:
            hits = search.search(
                chance.choice(("red apple", f"text-{mark}")), chance.choice((1, 10, 100)), where=where, allow=allow
            )
            said += [repr(hit) for hit in hits]
            shown += len(hits)
        except FilterError as error:
            hits = []
            said.append(f"{error.expected} {error.got.replace(mark, '')} {error.remedy}")
            refused += 1
        may = {page.doc_id for page in library.pages if readable(page, allow)}
        assert {hit.doc_id for hit in hits} <= may
        text = json.dumps(said)
        leaked = [page.doc_id for page in library.pages if page.doc_id not in may and page.doc_id[3:10] in text]
        assert leaked == [], (number, where, allow)
    assert shown > 1000
    assert refused > 100


def test_reader_sees_a_library_of_what_they_may_see(tmp_path):
    chance = random.Random(8)
    pages = secret_pages(chance, 40)
    whole = Library(tmp_path / "whole", pages)
    search = whole.search()
    for number, allow in enumerate((["a"], ["b", "A"], [])):
        part = Library(tmp_path / str(number), [page for page in pages if readable(page, allow)])
        for where in ("year >= 2020", "year is not null", "title contains 'mark01'", "nothing = 1", "title > 5"):
            assert answer(search, where, allow) == answer(part.search(), where, None)


def answer(search: Search, where: str, allow: list[str] | None) -> object:
    try:
        hits = search.search("red apple", 20, where=where, allow=allow)
        return [replace(hit, score=round(hit.score, 9)) for hit in hits]
    except FilterError as error:
        return str(error)
