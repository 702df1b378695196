"""Tables of pages: each value under its own column."""

import pytest

from embedder_assets.corpus.extract.html import extract_html
from embedder_assets.errors import DocumentError
from tests.support.corpora.web import LIMITS, text


def table(*rows: str) -> str:
    head, *body = rows
    return "\n".join([head, "| " + " | ".join(["---"] * (head.replace("\\|", "").count("|") - 1)) + " |", *body])


def test_cells_over_rows_and_columns_are_filled():
    found = text(
        "<table><tr><th>Site<th>Part<th>Stock<tr><td rowspan=2>North<td>Fuse<td>7<tr><td>Relay<td>2"
        "<tr><td>South<td colspan=2>closed<tr><td rowspan=0>West<td>Fuse<td>1<tr><td>Relay<td>3</table>"
    )
    assert found == table(
        "| Site | Part | Stock |",
        "| North | Fuse | 7 |",
        "| North | Relay | 2 |",
        "| South | closed | closed |",
        "| West | Fuse | 1 |",
        "| West | Relay | 3 |",
    )


def test_header_of_two_rows_becomes_one():
    found = text(
        "<table><caption>Sales</caption><thead><tr><th rowspan=2>Region<th colspan=2>2025<tr><th>Q1<th>Q2</thead>"
        "<tbody><tr><th>North<td>5<td>6</table>"
    )
    assert found == "Sales\n\n" + table("| Region | 2025 Q1 | 2025 Q2 |", "| North | 5 | 6 |")


def test_group_below_a_head_stays_a_row():
    found = text(
        "<table><thead><tr><td>&nbsp;<th>2025</thead><tr><th colspan=2>Pumps<tr><th>Flow<td>5<tr><th>Head<td>3</table>"
    )
    assert found == table("|  | 2025 |", "| Pumps | Pumps |", "| Flow | 5 |", "| Head | 3 |")


def test_title_over_all_columns_is_a_caption():
    found = text("<table><tr><th colspan=2>Torques<tr><th>Bolt<th>Nm<tr><td>M4<td>3</table>")
    assert found == "Torques\n\n" + table("| Bolt | Nm |", "| M4 | 3 |")


def test_table_without_header_row_keeps_its_rows():
    assert text("<table><tr><td>k<td>l<tr><td>1<td>2</table>") == table("| k | l |", "| 1 | 2 |")
    found = text("<table><tr><th>Flow<td>5 l<tr><th>Head<td>3 m</table>")
    assert found == table("|  |  |", "| Flow | 5 l |", "| Head | 3 m |")


def test_foot_comes_last_and_head_first():
    found = text(
        "<table><tfoot><tr><td>Sum<td>3</tfoot><tbody><tr><td>a<td>1<tr><td>b<td>2</tbody><thead><tr><td>k<td>n</thead></table>"
    )
    assert found == table("| k | n |", "| a | 1 |", "| b | 2 |", "| Sum | 3 |")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("a|b", "a\\|b"),
        ("<p>one<p>two", "one; two"),
        ("<p>One.<p>Two.", "One. Two."),
        ("red<br>green", "red green"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul>", "a; b; c"),
        ("<table><tr><td>p1<td>10 W<tr><td>p2<td>15 W</table>", "p1, 10 W; p2, 15 W"),
        ("10<sup>3</sup> <b>W</b>", "10^3 **W**"),
        ("<pre>a\nb</pre>", "a b"),
        ("# one", "# one"),
    ],
)
def test_cell_is_one_line(cell, written):
    assert text(f"<table><tr><th>k<th>l<tr><td>{cell}<td>x</table>") == table("| k | l |", f"| {written} | x |")


def test_empty_rows_and_columns_are_left_out():
    found = text("<table><tr><th>k<th>&nbsp;<th>l<tr><td><td><td><tr><td>1<td><td>2</table><table><tr><td></table>")
    assert found == table("| k | l |", "| 1 | 2 |")


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td>{}</table>",
        "<table><tr><td>{}<td></table>",
        "<table role=presentation><tr><td>{}<tr><td></table>",
        "<table><tr><td><table><tr><td>{}</table><tr><td></table>",
    ],
)
def test_table_that_only_places_keeps_its_headings(html):
    assert text(html.format("<h2>Part</h2><p>Words<ul><li>a</ul>")) == "## Part\n\nWords\n\n- a"


def test_spans_beyond_the_table_make_no_columns():
    found = text("<table><tr><th colspan=99999999>All<tr><th>k<th>l<tr><td rowspan=65534>1<td colspan=-1>2</table>")
    assert found == "All\n\n" + table("| k | l |", "| 1 | 2 |")


def test_spans_that_multiply_text_are_refused():
    words = "word" * 100
    html = f"<table><tr><th>k<tr><td rowspan=60000 colspan=1000>{words}" + "<tr>" * 60_000 + "</table>"
    with pytest.raises(DocumentError, match="20,000,000 characters of text"):
        extract_html(html.encode(), "a.html", LIMITS)
