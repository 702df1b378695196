import base64
import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from embedder_assets.assets.preview import CELL_CHARACTERS, PREVIEW_ROWS, histogram, rate, table_preview


def svg_of(markdown: str) -> ET.Element:
    match = re.fullmatch(r"!\[.*\]\(data:image/svg\+xml;base64,(.+)\)", markdown)
    return ET.fromstring(base64.b64decode(match[1]))


def bars(values: list[int], bins: int) -> list[ET.Element]:
    return svg_of(histogram(pl.Series(values), "Tokens", bins).value).findall("{*}rect")


def test_a_preview_is_a_markdown_table_of_the_chosen_columns():
    rows = pl.DataFrame({"hidden": [1], "name": ["a"], "score": [0.123456], "rank": [2]})
    assert table_preview(rows, ["name", "score", "rank"]).value.splitlines() == [
        "| name | score | rank |",
        "| --- | --- | --- |",
        "| a | 0.1235 | 2 |",
    ]


def test_only_the_first_rows_are_shown():
    assert len(table_preview(pl.DataFrame({"n": range(100)}), ["n"]).value.splitlines()) == 2 + PREVIEW_ROWS


def test_no_rows_still_show_the_columns():
    assert table_preview(pl.DataFrame({"n": []}), ["n"]).value == "| n |\n| --- |"


@pytest.mark.parametrize("text", ["a | b", "a\nb\r\nc", "| --- |", "x" * 1000])
def test_no_text_breaks_the_table(text):
    lines = table_preview(pl.DataFrame({"text": [text], "other": ["o"]}), ["text", "other"]).value.splitlines()
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 3


def test_long_texts_are_cut_with_a_mark():
    cell = table_preview(pl.DataFrame({"t": ["x" * 100]}), ["t"]).value.splitlines()[2]
    assert cell == f"| {'x' * CELL_CHARACTERS}… |"


def test_the_bars_of_a_histogram_show_the_counts():
    found = bars([1, 1, 1, 5, 9], 4)
    assert [bar.find("{*}title").text for bar in found] == ["3", "0", "1", "1"]
    heights = [float(bar.get("height")) for bar in found]
    assert heights == [120, 0, 40, 40]


@pytest.mark.parametrize("values", [[], [7], [7, 7, 7]])
def test_a_histogram_of_few_values_is_still_a_picture(values):
    found = bars(values, 16)
    assert len(found) == 16
    assert sum(int(bar.find("{*}title").text) for bar in found) == len(values)


@pytest.mark.parametrize(
    ("items", "seconds", "expected"), [(10, 4.0, 2.5), (1, 3.0, 0.33), (0, 1.0, 0.0), (5, 0.0, 0.0)]
)
def test_a_rate_is_items_a_second_and_never_divides_by_zero(items, seconds, expected):
    assert rate(items, seconds) == expected
