"""What a field of metadata may be, and what is refused or closes."""

import math

import pytest

from embedder_assets.corpus.metadata.values import MAX_FIELDS, MAX_VALUE_CHARS, clean, closes, is_time, stated, type_of


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ({"Product": " Pump "}, {"product": " Pump "}),
        ({" a B ": 1}, {"a b": 1}),
        ({"a": {"B": {"c": 1}}}, {"a.b.c": 1}),
        ({"a": None, "b": [], "c": "  ", "d": {}, "e": [None]}, {"a": None, "b": None, "c": None, "e": None}),
        ({"a": ["x", 2, True, None, 1.5]}, {"a": ["x", "2", "true", "1.5"]}),
        ({"a": 2**63 - 1, "b": -(2**63), "c": 1.5, "d": True}, {"a": 2**63 - 1, "b": -(2**63), "c": 1.5, "d": True}),
        ({"acl": "group:a"}, {"acl": ["group:a"]}),
        ({"ACL": [" group:a ", "group:a", "b"]}, {"acl": ["group:a", "b"]}),
        ({"acl": []}, {"acl": []}),
        ({"größe": "é\u2028"}, {"größe": "é\u2028"}),
    ],
)
def test_values_are_kept(raw, fields):
    assert clean(raw) == (fields, {})


@pytest.mark.parametrize(
    "value",
    [[[1]], [{"a": 1}], math.nan, math.inf, 2**63, 10**400, "a\0", "\ud800", ["\ud800"], "x" * (MAX_VALUE_CHARS + 1)],
)
def test_values_of_other_types_are_refused(value):
    fields, problems = clean({"a": value, "b": 1})
    assert fields == {"b": 1}
    assert list(problems) == ["a"]
    assert problems["a"].startswith("expected ")


@pytest.mark.parametrize("name", ["", " ", ".", "a\0", "\ud800"])
def test_names_that_are_none_are_refused(name):
    fields, problems = clean({name: 1})
    assert (fields, len(problems)) == ({}, 1)


def test_a_field_in_two_spellings_is_refused():
    assert clean({"A": 1, "a": 2}) == ({"a": 1}, {"a": "expected each field once, got it in two spellings"})
    assert clean({"a.b": 1, "a": {"b": 2}})[0] == {"a.b": 1}


def test_objects_without_end_are_refused():
    deep: object = {"b": 1}
    for _ in range(2000):
        deep = {"a": deep}
    assert clean({"x": deep, "y": 1})[0] == {"y": 1}
    fields, problems = clean({str(number): 1 for number in range(MAX_FIELDS + 5)})
    assert (len(fields), len(problems)) == (MAX_FIELDS, 5)


def test_an_acl_beyond_the_limit_closes():
    fields, _ = clean({**{str(number): 1 for number in range(MAX_FIELDS)}, "acl": ["a"]})
    assert fields["acl"] == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "boolean"),
        (1, "number"),
        (1.5, "number"),
        (["a"], "list"),
        ("a", "text"),
        ("2020", "text"),
        ("2020-01-31", "time"),
        ("2020-01-31T12:30", "time"),
        ("2020-01-31 12:30:59.123456+02:00", "time"),
        ("2020-01-31T12:30:59Z", "time"),
        ("2020-02-31", "text"),
        ("2020-01-31T25:00", "text"),
        ("20200131", "text"),
        ("2020-W01-1", "text"),
        ("on 2020-01-31", "text"),
        ("٢٠٢٠-01-31", "text"),
        ("", "text"),
    ],
)
def test_types_are_recognized(value, kind):
    assert type_of(value) == kind
    assert is_time(str(value)) == (kind == "time")


def test_authors_are_left_out():
    raw = {"Author": "J", "authors": ["J"], "author.name": "J", "authority": "x"}
    assert stated(raw, author=False) == {"authority": "x"}
    assert stated(raw, author=True) == raw


@pytest.mark.parametrize(("text", "closed"), [('{"ACL":', True), ('{"\\u0061cl"', True), ('{"color":', False)])
def test_text_that_may_name_readers_closes(text, closed):
    assert closes(text) is closed
