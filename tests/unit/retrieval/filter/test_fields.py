"""Values of metadata as columns, whatever JSON holds."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from embedder_assets.retrieval.filter.fields import Column, Moment, common_type, element, moment, type_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01", Moment(datetime(2024, 5, 1), True)),
        ("2024-05-01T00:00", Moment(datetime(2024, 5, 1), False)),
        ("2024-05-01 10:30:00", Moment(datetime(2024, 5, 1, 10, 30), False)),
        ("2024-05-01T01:00:00+02:00", Moment(datetime(2024, 4, 30, 23), False)),
        ("2024-05-01T10:00:00.123456Z", Moment(datetime(2024, 5, 1, 10, 0, 0, 123456), False)),
        *((text, None) for text in ("2024", "2024-05", "20240501", "2024-W18-3", "2024-02-30", "2024-05-01T", "x")),
        *((text, None) for text in ("0001-01-01T00:00+14:00", "2024-05-01T10:00 and more", "2024-05-01\n", "")),
    ],
)
def test_times_are_iso_8601_with_a_date(text, expected):
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b", 1], "text"),
        ([1, 2.5, True], "number"),
        ([True, False, "x"], "boolean"),
        ([["a"], [], "a"], "list"),
        (["2024-01-01", "2024-01-02T10:00Z", "soon"], "time"),
        (["2024-01-01", "soon"], "text"),
        (["2024-01-01", 5], "time"),
        ([True, 5, ["a"]], "number"),
        ([None, {"a": 1}, float("nan"), float("inf"), 10**400], None),
        ([], None),
    ],
)
def test_type_of_a_field_is_that_of_most_values(values, kind):
    assert common_type(values) == kind
    assert common_type(values[::-1]) == kind


def test_values_of_other_types_are_present_and_null():
    column = Column.of([1, "x", None, True, [2], 10**400, {"a": 1}], "number")
    assert column.values.to_list() == [1.0, *[None] * 6]
    assert column.present.to_list() == [True, True, False, True, True, True, True]


def test_half_characters_and_deep_lists_are_values_too():
    assert Column.of(["a\ud800", "b"], "text").values.to_list() == ["a?", "b"]
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    assert Column.of([[deep, {"a": 1}, "\ud800"]], "list").values.to_list() == [["", "", '"?']]


def test_equal_elements_have_equal_texts():
    assert element(5) == element(5.0)
    assert len({element(each) for each in (1, True, "1", "true", None, False, 0)}) == 7


def test_missing_rows_have_no_value():
    rows = pl.Series([1, None, 0], dtype=pl.UInt32)
    column = Column.of(["2024-01-01", "2024-01-01T10:00"], "time").gather(rows)
    assert column.present.to_list() == [True, False, True]
    assert column.is_day.to_list() == [False, False, True]
    assert type_of(column) is None
