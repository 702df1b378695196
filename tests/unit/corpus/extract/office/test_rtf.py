"""Documents in Rich Text Format (RTF)."""

from __future__ import annotations

import pytest

from embedder_assets.corpus.extract import html
from tests.support.corpora.extraction import issue

NEEDS_HTML = pytest.mark.skipif(not hasattr(html, "convert_html"), reason="needs the HTML reader that fills spans")


def rtf(body: str, head: str = "") -> bytes:
    fonts = r"{\fonttbl{\f0 Times;}{\f1\fcharset204 Cyrillic;}}{\stylesheet{\s1 heading 1;}}"
    return rf"{{\rtf1\ansi\ansicpg1252\deff0{fonts}{head}{body}}}".encode("ascii")


@NEEDS_HTML
def test_rtf_becomes_markdown_with_its_encodings(extract):
    body = (
        r"\pard\s1\outlinelevel0 Limits\par\pard\plain Gr\'fc\'dfe \u8364? and {\f1 \'cf\'f0\'e8}\par"
        r"\pard well\_known {\b bold}\par"
    )
    head = r"{\info{\title Of pumps}{\author Ada}{\creatim\yr2024\mo1\dy2\hr3\min4}}"
    found = extract(".rtf", rtf(body, head))
    assert found.text == "# Limits\n\nGrüße € and При\n\nwell-known **bold**\n"
    assert found.title == "Of pumps"
    assert found.metadata == {"created": "2024-01-02T03:04:00", "author": "Ada"}


@NEEDS_HTML
def test_marks_of_rtf_are_those_of_markdown(extract):
    body = r"\pard {\b Bold} and {\ul under}\par\pard {\mmath{\*\moMath{\mr x}}}end\par"
    found = extract(".rtf", rtf(body))
    assert found.text == "**Bold** and under\n\n$x$end\n"
    assert not found.omissions


def test_what_is_no_text_of_rtf_is_named(extract):
    body = (
        r"{\header Draft of May\par}{\footer {\field{\fldrslt 3}} / 9\par}\pard a {\v secret }b{\deleted c}{\revised d}"
        r"{\*\annotation Really?}{\pict\pngblip 89504e47}{\pict\bin4 }}}}}\par\pard end\par"
    )
    found = extract(".rtf", rtf(body))
    assert found.text == "a bd\n\nend\n"
    assert {each.part: each.count for each in found.omissions} == {
        "page header": 1,
        "hidden text": 1,
        "deletion": 1,
        "comment": 1,
        "image without description": 2,
    }


@NEEDS_HTML
def test_raised_digit_of_rtf_keeps_its_mark(extract):
    text = extract(".rtf", rtf(r"\pard 10{\super 6} litres\par\pard 25 m\super 2\nosupersub  more\par")).text
    assert text == "10^6 litres\n\n25 m^2 more\n"


@NEEDS_HTML
def test_table_of_rtf(extract):
    row = r"\trowd\cellx1000\cellx2000 \intbl {}\cell {}\cell\row ".format
    assert extract(".rtf", rtf(row("Part", "Site") + row("Relay", "a|b") + r"\pard end\par")).text == (
        "| Part | Site |\n| --- | --- |\n| Relay | a\\|b |\n\nend\n"
    )


@NEEDS_HTML
@pytest.mark.parametrize("text", ["# of seats", "1986. A year", "* note", "1) item", "- minus", "<script> x"])
def test_words_of_rtf_are_no_markup(extract, text):
    assert "\\" in extract(".rtf", rtf(rf"\pard {text}\par\pard next\par")).text.splitlines()[0]


def test_bad_rtf_is_an_issue(collection):
    assert issue(collection, "a.rtf", b"no RTF at all").kind == "unreadable_office"
    (collection.root / "a.rtf").unlink()
    assert issue(collection, "b.rtf", rtf("{" * 600 + "x" + "}" * 600)).kind == "too_deep"
