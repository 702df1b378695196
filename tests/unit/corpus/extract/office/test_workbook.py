"""Workbooks of Excel."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import xlsxwriter

from embedder_assets.corpus.extract.office.workbook import plain_number
from tests.support.corpora.extraction import issue
from tests.support.corpora.office import part_of, with_parts

SHEET = "xl/worksheets/sheet1.xml"


def workbook(fill: Callable[[Any], object]) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        fill(book)
    return file.getvalue()


def sheet_of(*rows: list[object]) -> Callable[[Any], Any]:
    """Fills a sheet named Data; a cell that is None stays empty."""

    def fill(book: Any) -> Any:
        sheet = book.add_worksheet("Data")
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write(at, column, value)
        return sheet

    return fill


def text_of(extract, *rows: list[object]) -> str:
    return extract(".xlsx", workbook(sheet_of(*rows))).text


def test_sheets_become_sections_with_tables(extract):
    def fill(book):
        book.set_properties({"title": "Prices", "author": "Ada", "keywords": "pump; valve"})
        sheet_of(["Part", "Note"], ["Relay", "a|b"], ["Fuse", "two\nlines"])(book)
        book.add_worksheet("Empty")
        book.add_worksheet("Other").write("C3", "alone")

    found = extract(".xlsx", workbook(fill))
    table = "| Part | Note |\n| --- | --- |\n| Relay | a\\|b |\n| Fuse | two lines |\n"
    assert found.text == f"## Data\n\n{table}\n## Other\n\nalone\n"
    assert found.title == "Prices"
    assert (found.metadata["author"], found.metadata["keywords"]) == ("Ada", ["pump", "valve"])
    assert found.omissions == ()


def test_values_are_written_as_they_are_shown(extract):
    moment = datetime.datetime(2024, 5, 6, 7, 8)

    def fill(book):
        sheet = sheet_of(["Kind", "Value"])(book)
        shown = [
            ("yyyy-mm-dd", moment.replace(hour=0, minute=0)),
            ("dd.mm.yy hh:mm", moment),
            ("hh:mm", datetime.time(7, 8, 9)),
            ("[h]:mm", 1.5),
            ("0.0%", 0.07),
            ('#,##0.00 "EUR"', 1234.5),
            ("[$€-407] #,##0.00", 3),
            ("General", 0.1 + 0.2),
            ("General", 1e-7),
            ("General", 12345678901234),
            ('0 "days"', 3),
        ]
        for row, (code, value) in enumerate(shown, start=1):
            write = sheet.write_datetime if isinstance(value, datetime.datetime | datetime.time) else sheet.write
            write(row, 1, value, book.add_format({"num_format": code}))
            sheet.write(row, 0, code.replace("|", ""))
        sheet.write_row(12, 0, ["truth", True])

    text = extract(".xlsx", workbook(fill)).text
    assert [line.split(" | ")[1].removesuffix(" |") for line in text.splitlines()[4:]] == [
        "2024-05-06",
        "2024-05-06T07:08:00",
        "07:08:09",
        "36:00:00",
        "7%",
        "1234.5 EUR",
        "3 €",
        "0.3",
        "0.0000001",
        "12345678901234",
        "3 days",
        "TRUE",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1 + 0.2, "0.3"), (3.0, "3"), (-0.0, "0"), (1e22, "1e+22"), (100.0, "100"), (float("inf"), "inf")],
)
def test_numbers_have_no_binary_noise(value, expected):
    assert plain_number(value) == expected


def test_dates_count_from_1904_where_the_file_says_so(extract):
    def fill(book):
        sheet_of(["Day"], [None])(book).write(1, 0, 1, book.add_format({"num_format": "yyyy-mm-dd"}))

    data = workbook(fill)
    early = part_of(data, "xl/workbook.xml").replace("<workbookPr ", '<workbookPr date1904="1" ')
    assert "1904-01-02" in extract(".xlsx", with_parts(data, {"xl/workbook.xml": early})).text
    assert "1900-01-01" in extract(".xlsx", data).text


@pytest.mark.parametrize(("names", "title"), [(["Sheet1", "Prices"], "Prices"), (["Tabelle1"], "a")])
def test_workbook_without_title_has_a_name(extract, names, title):
    def fill(book):
        for name in names:
            book.add_worksheet(name).write(0, 0, "word")

    assert extract(".xlsx", workbook(fill)).title == title


def test_column_of_words_is_a_paragraph(extract):
    text = text_of(extract, ["Report of May"], ["Prepared by Ada"], ["# of pages: 3"])
    assert [line.strip() for line in text.splitlines()] == ["## Data", "", "Report of May", "Prepared by Ada", mock.ANY]


def test_title_above_a_table_is_a_paragraph(extract):
    text = text_of(extract, ["Prices of May"], ["Part", "Price"], ["Relay", 5])
    assert text == "## Data\n\nPrices of May\n\n| Part | Price |\n| --- | --- |\n| Relay | 5 |\n"


def test_blank_rows_and_columns_part_tables(extract):
    text = text_of(
        extract,
        ["A", "B", None, "C", "D"],
        [1, 2, None, 3, 4],
        [],
        ["E", "F"],
        [5, 6],
    )
    assert [block.splitlines()[0] for block in text.split("\n\n")[1:]] == ["| A | B |", "| C | D |", "| E | F |"]


def test_rows_behind_a_gap_keep_their_header(extract):
    text = text_of(extract, ["Part", "Price"], ["Relay", 5], [], ["Fuse", 7])
    assert text.endswith("| Relay | 5 |\n| Fuse | 7 |\n")


def test_value_stays_beside_its_label(extract):
    text = text_of(extract, ["Owner", None, "Ada"], ["Site", None, "North"])
    assert text.endswith("| Owner | Ada |\n| --- | --- |\n| Site | North |\n")


def test_merged_cells_are_filled(extract):
    def fill(book):
        sheet = sheet_of(["Part", "Site"], [None, "N"], [None, "E"])(book)
        sheet.merge_range("A2:A3", "Relay")

    assert extract(".xlsx", workbook(fill)).text.endswith("| Relay | N |\n| Relay | E |\n")


def test_losses_are_named(extract):
    def fill(book):
        sheet = sheet_of(["Part", "Price"], ["Relay", 5])(book)
        sheet.write_formula("B3", "=1/0", None, "#DIV/0!")
        sheet.write_comment("A2", "Really?")
        book.add_worksheet("Lists").hide()

    data = workbook(fill)
    cells = part_of(data, SHEET).replace("</row></sheetData>", '<c r="C3"><f>A1</f></c></row></sheetData>')
    found = extract(".xlsx", with_parts(data, {SHEET: cells}))
    assert "#DIV/0!" in found.text
    assert [(each.part, each.count, each.detail.partition(".")[0]) for each in found.omissions] == [
        ("hidden sheet", 1, "Lists"),
        ("formula without a value", 1, "Data!C3"),
        ("cell with an error", 1, "Data!B3: #DIV/0!"),
        ("comment", 1, ""),
    ]


def test_boxes_and_titles_of_charts_are_text(extract):
    def fill(book):
        sheet = sheet_of(["Part", "Price"], ["Relay", 5])(book)
        chart = book.add_chart({"type": "column"})
        chart.add_series({"values": "=Data!$B$2:$B$2"})
        chart.set_title({"name": "Prices by part"})
        sheet.insert_chart("D1", chart)
        sheet.insert_textbox("D9", "# of parts: one")

    text = extract(".xlsx", workbook(fill)).text
    assert "of parts: one" in text
    assert "Prices by part" in text


def test_raised_digit_of_a_cell_keeps_its_mark(extract):
    def fill(book):
        raised = book.add_format({"font_script": 1})
        sheet_of(["Area"])(book).write_rich_string("A2", "25 m", raised, "2", " or more")

    assert "25 m^2 or more\n" in extract(".xlsx", workbook(fill)).text


def test_escapes_of_control_characters_go(extract):
    data = workbook(sheet_of(["Part", "Note"], ["Relay", "two_lines"]))
    strings = part_of(data, "xl/sharedStrings.xml").replace("two_lines", "two_x000D_lines_x005F_x")
    assert "| Relay | two lines_x |" in extract(".xlsx", with_parts(data, {"xl/sharedStrings.xml": strings})).text


def test_far_cell_costs_nothing(extract):
    data = workbook(lambda book: sheet_of(["a", "b"], ["c", "d"])(book).write(1_048_575, 16_383, "far"))
    assert extract(".xlsx", data).text.endswith("\nfar\n")
    cells = part_of(data, SHEET)
    merged = cells.replace("</sheetData>", '</sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>')
    assert extract(".xlsx", with_parts(data, {SHEET: merged})).text.startswith("## Data")


def test_cells_without_references_are_read(extract):
    data = workbook(sheet_of(["Part", "Price"], ["Relay", 5]))
    cells = part_of(data, SHEET)
    for reference in ('r="A1"', 'r="B1"', 'r="A2"', 'r="B2"'):
        cells = cells.replace(f"<c {reference}", "<c", 1)
    assert extract(".xlsx", with_parts(data, {SHEET: cells})).text == extract(".xlsx", data).text


def test_renamed_workbook_is_an_issue(collection):
    found = issue(collection, "a.docx", workbook(sheet_of(["x"])))
    assert found.kind == "unreadable_office"
    assert "expected a .docx file, got what is a .xlsx file" in found.message
