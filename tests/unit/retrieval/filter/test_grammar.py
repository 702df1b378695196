"""What a filter may look like, and what is said where it does not."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.errors import FilterError
from embedder_assets.retrieval.filter.conditions import (
    Absence,
    Combination,
    Comparison,
    Containment,
    Membership,
    Negation,
)
from embedder_assets.retrieval.filter.grammar import parse


def shape(condition: object) -> object:
    """A condition as tuples."""
    match condition:
        case Combination(conditions, join):
            return ("and" if join is operator.and_ else "or", *map(shape, conditions))
        case Negation(inner):
            return ("not", shape(inner))
        case Comparison(name, symbol, value):
            return (name.text, symbol, value.value)
        case Containment(name, value):
            return (name.text, "contains", value.value)
        case Membership(name, values):
            return (name.text, "in", [value.value for value in values])
        case Absence(name):
            return (name.text, "null")
    raise AssertionError(condition)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('product = "pump" and year >= 2020', ("and", ("product", "=", "pump"), ("year", ">=", 2020))),
        ("a=1 or b=2 and c=3", ("or", ("a", "=", 1), ("and", ("b", "=", 2), ("c", "=", 3)))),
        ("(a=1 or b=2)and(c=3)", ("and", ("or", ("a", "=", 1), ("b", "=", 2)), ("c", "=", 3))),
        ("not a=1 and b=2", ("and", ("not", ("a", "=", 1)), ("b", "=", 2))),
        ("NOT not a=1", ("not", ("not", ("a", "=", 1)))),
        ("a IN (1,'x' , true)", ("a", "in", [1, "x", True])),
        ("a Not In (-1.5e2)", ("not", ("a", "in", [-150]))),
        ("a not contains .5", ("not", ("a", "contains", 0.5))),
        ("a is null or b is not null", ("or", ("a", "null"), ("not", ("b", "null")))),
        ("""a = "it's" and b = 'it''s "so"'""", ("and", ("a", "=", "it's"), ("b", "=", 'it\'s "so"'))),
        ('a = ""', ("a", "=", "")),
        (r"a = 'C:\temp'", ("a", "=", r"C:\temp")),
        # Names that begin as keywords do, and others.
        ("notice=1 and order=2", ("and", ("notice", "=", 1), ("order", "=", 2))),
        ("in-stock=false or is.new!=TRUE", ("or", ("in-stock", "=", False), ("is.new", "!=", True))),
        ("`two words`=1 and `not`=2", ("and", ("two words", "=", 1), ("not", "=", 2))),
        ("größe='日本'", ("größe", "=", "日本")),
        (" \n a\t=\n1 ", ("a", "=", 1)),
        ("(" * 2000 + "a=1" + ")" * 2000, ("a", "=", 1)),
        (" and ".join(["a=1"] * 2000), ("and", *[("a", "=", 1)] * 2000)),
    ],
)
def test_filters_are_read(text, expected):
    assert shape(parse(text)) == expected


@pytest.mark.parametrize("text", ["2024-05-01", "2024-05-01T10:00", "2024-05-01T10:00:00.5Z", "2024-05-01T10:00+02:00"])
def test_times_need_no_quotes(text):
    condition = parse(f"created >= {text}")
    assert (condition.value.kind, condition.value.value.is_day) == ("time", len(text) == 10)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", 0, "expected the name of a field, .* got the end"),
        ("year >", 6, "expected a text in quotes, a number, a time, true or false, got the end"),
        ("year 2020", 5, "expected = != < <= > >=, 'not', 'in', 'contains', 'is null', got '2020'"),
        ("product = pump", 10, "got 'pump'. Write a text in quotes: \"pump\""),
        ("product == 'x'", 9, "got '='"),
        ("a = 1 & b = 2", 6, "expected 'and', 'or', the end, got '&'"),
        ("a = 1 b = 2", 6, "got 'b'"),
        ("a like 'x'", 2, "got 'like'"),
        ("a = 'x", 4, "got a ' that is not closed. Close it; inside a text, write ''"),
        ("a in ()", 6, r"got '\)'"),
        ("(a = 1", 6, r"expected '\)', got the end"),
        ("a = 1)", 5, r"expected the end, got '\)'"),
        ("a = null", 4, "Write 'is null' or 'is not null'"),
        ("'a' = 1", 0, "expected the name of a field"),
        ("a = 12abc", 4, "got '12abc'"),
        ("a = 2020-13-01", 4, "expected a time that there is"),
        ("not " * 200 + "a = 1", 0, "nested at most 100 deep"),
        ("a = '\udc80'", 5, "expected characters, got half of one"),
        ("\x1b[2J = 1", 0, r"got '\\x1b\[2J'"),
    ],
)
def test_errors_point_at_the_place(text, at, words):
    with pytest.raises(FilterError, match=words) as raised:
        parse(text)
    _, shown, caret = str(raised.value).split("\n")
    assert caret == f"  {' ' * at}^"
    assert shown.isprintable()


def test_caret_stands_below_wide_characters():
    with pytest.raises(FilterError) as raised:
        parse("名前 = '日本' or 5")
    assert str(raised.value).split("\n")[1:] == ["  名前 = '日本' or 5", f"  {' ' * 17}^"]


def test_long_filters_are_shown_around_the_place():
    with pytest.raises(FilterError) as raised:
        parse("a = 1 and " * 50 + "b ! 2" + " and c = 3" * 50)
    _, shown, caret = str(raised.value).split("\n")
    assert len(shown) < 110
    assert shown[len(caret) - 1] == "!"


PIECES = ("a", "`b c`", "=", "!=", "<=", "in", "not", "and", "or", "is", "null", "contains", "(", ")", ",", "'x'", '"')
MORE_PIECES = ("5", "-1e3", "2024-05-01", "2024-05-01T", "true", "'", "`", "\\", "\x00", "é", "\ud800", "#", "--", ";")


@given(st.text() | st.lists(st.sampled_from(PIECES + MORE_PIECES), max_size=12).map(" ".join))
def test_any_text_is_read_or_refused_with_its_place(text):
    try:
        parse(text)
    except FilterError as error:
        _, shown, caret = str(error).split("\n")
        assert caret.strip() == "^"
        assert shown.startswith("  ")
