"""Presentations of PowerPoint."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tests.support.corpora.office import part_of, with_parts

TITLE_AND_BODY, TITLE_ONLY, BLANK = 1, 5, 6


def deck(build: Callable[[Any], object]) -> bytes:
    made, file = Presentation(), io.BytesIO()
    build(made)
    made.save(file)
    return file.getvalue()


def add(made: Any, title: str, layout: int = TITLE_ONLY) -> Any:
    slide = made.slides.add_slide(made.slide_layouts[layout])
    if slide.shapes.title is not None:
        slide.shapes.title.text = title
    return slide


def box(slide: Any, text: str, left: float, top: float) -> Any:
    frame = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(2), Inches(0.5)).text_frame
    frame.text = text
    return frame


def test_slides_become_sections_in_their_order(extract):
    def build(made):
        made.core_properties.title = "Deck"
        made.core_properties.author = "Ada"
        first = add(made, "First", TITLE_AND_BODY)
        body = first.placeholders[1].text_frame
        body.text = "Point"
        for text, level in (("inner", 1), ("Other", 0)):
            line = body.add_paragraph()
            line.text, line.level = text, level
        add(made, "Second")
        order = made.slides._sldIdLst
        order.insert(0, order[-1])

    found = extract(".pptx", deck(build))
    assert found.text == "## Second\n\n## First\n\n- Point\n  - inner\n- Other\n"
    assert [found.text[at:].split("\n")[0] for at in found.pages] == ["## Second", "## First"]
    assert (found.title, found.metadata["author"]) == ("Deck", "Ada")


def test_notes_stand_below_their_slide(extract):
    def build(made):
        add(made, "Costs").notes_slide.notes_text_frame.text = "Say that it is cheap."

    assert extract(".pptx", deck(build)).text == "## Costs\n\n### Notes\n\nSay that it is cheap.\n"


def test_shapes_are_read_as_they_are_seen(extract):
    def build(made):
        slide = add(made, "", BLANK)
        for text, left, top in (("bottom", 1, 5), ("right", 5, 1.05), ("left", 1, 1)):
            box(slide, text, left, top)
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(Inches(1), Inches(6), Inches(1), Inches(1)).text_frame.text = "grouped"

    assert extract(".pptx", deck(build)).text.split() == ["##", "Slide", "1", "left", "right", "bottom", "grouped"]


def test_deck_is_titled_by_its_first_title(extract):
    def build(made):
        box(add(made, "", BLANK), "no title", 1, 1)
        add(made, "Costs")

    assert extract(".pptx", deck(build)).title == "Costs"
    assert extract(".pptx", deck(lambda made: box(add(made, "", BLANK), "words", 1, 1))).title == "a"


def test_hidden_slide_is_left_out_and_named(extract):
    def build(made):
        add(made, "Shown")
        add(made, "Backup")._element.set("show", "0")

    found = extract(".pptx", deck(build))
    assert found.text == "## Shown\n"
    assert [(each.part, each.detail) for each in found.omissions] == [("hidden slide", "2 Backup.")]


def test_chart_becomes_its_values(extract):
    def build(made):
        values = CategoryChartData()
        values.categories = ["May", "June"]
        values.add_series("North", (1.5, 2))
        place = (Inches(1), Inches(2), Inches(4), Inches(3))
        add(made, "Sales").shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *place, values)

    found = extract(".pptx", deck(build))
    assert found.text.endswith("|  | North |\n| --- | --- |\n| May | 1.5 |\n| June | 2 |\n")
    assert found.omissions == ()  # the workbook inside is that of the chart


def table_deck(made: Any) -> None:
    place = (Inches(1), Inches(2), Inches(4), Inches(1))
    table = add(made, "Sites").shapes.add_table(3, 2, *place).table
    for at, text in enumerate(["Part", "Site", "Relay", "N", "", "E"]):
        table.cell(at // 2, at % 2).text = text
    table.cell(1, 0).merge(table.cell(2, 0))


def test_table_has_its_first_row_as_header(extract):
    text = extract(".pptx", deck(table_deck)).text
    assert text.startswith("## Sites\n\n| Part | Site |\n| --- | --- |\n| Relay | N |\n")


def test_merged_cells_of_a_table_are_filled(extract):
    assert extract(".pptx", deck(table_deck)).text.endswith("| Relay | N |\n| Relay | E |\n")


def test_raised_text_keeps_its_mark(extract):
    def build(made):
        frame = box(add(made, "Area"), "25 m", 1, 3)
        raised = frame.paragraphs[0].add_run()
        raised.text = "2"
        raised.font._element.set("baseline", "30000")

    assert "25 m^2" in extract(".pptx", deck(build)).text


def test_equation_of_a_slide_is_text(extract):
    data = deck(lambda made: box(add(made, "Flow"), "so MATH", 1, 3))
    name = "ppt/slides/slide1.xml"
    math = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:Choice '
        'Requires="a14"><a14:m xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main"><m:oMath '
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:r><m:t>q=v</m:t></m:r></m:oMath>'
        "</a14:m></mc:Choice><mc:Fallback/></mc:AlternateContent></a:p>"
    )
    slide = part_of(data, name).replace("so MATH</a:t></a:r></a:p>", f"so </a:t></a:r>{math}")
    assert extract(".pptx", with_parts(data, {name: slide})).text == "## Flow\n\nso $q=v$\n"


def test_losses_of_slides_are_named(extract):
    data = deck(lambda made: add(made, "Costs"))
    named = with_parts(data, {"ppt/vbaProject.bin": b"x", "ppt/embeddings/oleObject1.bin": b"x"})
    found = extract(".pptm", named)
    assert [(each.part, each.count) for each in found.omissions] == [("macro", 1), ("embedded file", 1)]
