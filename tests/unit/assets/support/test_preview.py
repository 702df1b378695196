import base64
import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from embedder_assets.assets.support.preview import CELL_CHARACTERS, PREVIEW_ROWS, histogram, rate, table_preview


def svg_of(markdown: str) -> ET.Element:
    match = re.fullmatch(r"!\[.*\]\(data:image/svg\+xml;base64,(.+)\)", markdown)
    return ET.fromstring(base64.b64decode(match[1]))


def bars(values: list[int], bins: int) -> list[ET.Element]:
    return svg_of(histogram(pl.Series(values), "Tokens", bins).value).findall("{*}rect")


def records_of(rows: pl.DataFrame, columns: list[str], **options) -> list[dict]:
    return [record.data for record in table_preview(rows, columns, **options).records]


def test_preview_shows_the_chosen_columns():
    rows = pl.DataFrame({"hidden": [1], "name": ["a"], "score": [0.123456], "rank": [2], "note": [None]})
    shown = table_preview(rows, ["name", "score", "rank", "note"])
    assert [record.data for record in shown.records] == [{"name": "a", "score": 0.1235, "rank": 2, "note": None}]
    assert [column.name for column in shown.schema.columns] == ["name", "score", "rank", "note"]


def test_only_the_first_rows_are_shown():
    assert records_of(pl.DataFrame({"n": range(100)}), ["n"]) == [{"n": n} for n in range(PREVIEW_ROWS)]


def test_no_rows_still_show_the_columns():
    shown = table_preview(pl.DataFrame({"n": []}), ["n"])
    assert (shown.records, [column.name for column in shown.schema.columns]) == ([], ["n"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a | b"),
        ("a\nb\r\nc\u2028d\x85e", "a b c d e"),
        ("\x1b]8;;http://evil.test\x07link\u202e", "\\x1b]8;;http://evil.test\\x07link\\u202e"),
        ("![](http://evil.test)<img src=//evil.test>", "![](http://evil.test)<img src=//evil.test>"),
    ],
)
def test_a_cell_is_one_line_of_plain_text(text, shown):
    assert records_of(pl.DataFrame({"text": [text]}), ["text"]) == [{"text": shown}]


def test_long_texts_are_cut_except_remedies():
    rows = pl.DataFrame({"t": ["x" * 100], "message": ["y" * 500 + " Rename the file."]})
    (record,) = records_of(rows, ["t", "message"], whole=["message"])
    assert record == {"t": f"{'x' * CELL_CHARACTERS}…", "message": "y" * 500 + " Rename the file."}


def test_the_bars_of_a_histogram_show_the_counts():
    found = bars([1, 1, 1, 5, 9], 4)
    assert [bar.find("{*}title").text for bar in found] == ["3", "0", "1", "1"]
    heights = [float(bar.get("height")) for bar in found]
    assert heights == [120, 0, 40, 40]


@pytest.mark.parametrize("values", [[], [7], [7, 7, 7]])
def test_few_values_still_make_a_histogram(values):
    found = bars(values, 16)
    assert len(found) == 16
    assert sum(int(bar.find("{*}title").text) for bar in found) == len(values)


@pytest.mark.parametrize(
    ("items", "seconds", "expected"), [(10, 4.0, 2.5), (1, 3.0, 0.33), (0, 1.0, 0.0), (5, 0.0, 0.0)]
)
def test_rate_survives_zero_seconds(items, seconds, expected):
    assert rate(items, seconds) == expected
