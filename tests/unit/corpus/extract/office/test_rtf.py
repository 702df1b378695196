"""Documents in Rich Text Format (RTF)."""

from __future__ import annotations

import contextlib
import time

import pytest

from embedder_assets.corpus.extract import html
from embedder_assets.corpus.extract.office.rtf.reader import RtfReader
from embedder_assets.errors import DocumentError
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


def row(*cells: str, merges: tuple[str, ...] = (), edges: tuple[int, ...] = ()) -> str:
    """A row of a table; ``merges`` stand in front of the edges of its cells, in twips."""
    ends = edges or tuple(1000 * (at + 1) for at in range(len(cells)))
    declared = "".join(f"{merge}\\cellx{end}" for merge, end in zip(merges or [""] * len(ends), ends, strict=True))
    content = "".join(f"{cell}\\cell " for cell in cells)
    return rf"\trowd{declared}\pard\intbl {content}\row "


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"{\f2 \'82\'a0\'83A}", "あア"),  # the second byte of a character may be a letter
        (r"\u-10179\u-8704?", "\U0001f600"),
        (r"{\uc2 \u12354\'82\'a0x}\u8220\ldblquote y", "あx“y"),
        (r"\uc0\u8364 y", "€y"),
        (r"{\upr{none}{\*\ud{\u8364?}}}", "€"),
        (r"{\f3 S\'b3}", "Σ≥"),
        (r"a\~b\-c\emdash d\'93e\'94", "a bc—d“e”"),
        (r"a\'81", "a\ufffd"),
        ("one\r\ntwo\\\nnext", "onetwo\n\nnext"),
        (r"{\b never closed", "**never closed**"),
        (r"a}} b", "a b"),
        (r"\{x\} \\y", "{x} \\y"),
        (r"a \header b", "a b"),  # only a group has that name
        (r"{\fonttbl\fcharset204 x;}}}\*\none a", "a"),
    ],
)
@NEEDS_HTML
def test_characters_of_rtf(extract, body, text):
    fonts = r"{\fonttbl{\f2\fcharset128 Mincho;}{\f3\fcharset2 Symbol;}}"
    assert extract(".rtf", rtf(rf"\pard {body}\par", fonts)).text == f"{text}\n"


@NEEDS_HTML
def test_lists_and_numbered_headings_of_rtf(extract):
    body = (
        r"\pard{\listtext\f1 \'b7\tab}\ls1 one\par{\listtext \'b7\tab}two\par\pard{\listtext 1.\tab}\ls1\ilvl1 sub\par"
        r"\pard{\listtext a)\tab}\ls2 letter\par\pard\s3{\listtext 2.1\tab}Scope\par\pard text\par"
    )
    styles = r"{\stylesheet{\s2 heading 2;}{\s3\sbasedon2 Ours;}}"
    text = extract(".rtf", rtf(body, styles)).text
    assert text == "- one\n- two\n  1. sub\n- a) letter\n\n## 2.1 Scope\n\ntext\n"


@NEEDS_HTML
def test_links_notes_and_boxes_of_rtf(extract):
    link = r'{\field{\*\fldinst{HYPERLINK "https://a.example/b"}}{\fldrslt the {\b page}}}'
    box = r"{\shp{\*\shpinst{\sp{\sn wzDescription}{\sv A pump}}{\shptxt Boxed\par}}{\shprslt{\*\do twice}}}"
    note = r"{\super\chftn{\footnote {\super\chftn} A note.\par}}"
    text = extract(".rtf", rtf(rf"\pard See {link}{note} now.{box}\par")).text
    assert text == "See [the **page**](https://a.example/b)[1] now. A pump\n\nBoxed\n\n1. A note.\n"


@NEEDS_HTML
def test_merged_cells_of_rtf_are_filled(extract):
    body = row("a", "wide", "", merges=("", r"\clmgf", r"\clmrg")) + row("v", "1", "2", merges=(r"\clvmgf", "", ""))
    body += row("", "3", "4", merges=(r"\clvmrg", "", "")) + row("5", "6", edges=(2010, 3000))
    assert extract(".rtf", rtf(body + r"\pard end\par")).text == (
        "| a | wide | wide |\n| --- | --- | --- |\n| v | 1 | 2 |\n| v | 3 | 4 |\n| 5 | 5 | 6 |\n\nend\n"
    )


@NEEDS_HTML
def test_table_in_a_cell_of_rtf(extract):
    inner = r"\pard\intbl\itap2 in\nestcell side\nestcell{\*\nesttableprops\trowd\cellx500\cellx900\nestrow}"
    text = extract(".rtf", rtf(row(rf"x\par{inner}{{\nonesttables\par}}\pard\intbl z", "two"))).text
    assert text.splitlines()[0].replace(";", ",") == "| x, in, side, z | two |"


@NEEDS_HTML
def test_malformed_table_of_rtf_loses_no_word(extract):
    text = extract(".rtf", rtf(r"\trowd\cellx1000 a\cell b\row lost\intbl c\cell d\par e\pard after\par")).text
    assert {"a", "b", "lostc", "d", "eafter"} <= set(text.replace("|", " ").split())


@NEEDS_HTML
def test_raised_and_lowered_text_of_rtf(extract):
    body = r"\pard H{\sub 2}O, CO{\dn6 2}, x{\up6 n+1}, v{\super 2}\par"
    assert extract(".rtf", rtf(body)).text == "H2O, CO2, x^(n+1), v^2\n"


@NEEDS_HTML
def test_equation_of_rtf_is_latex(extract):
    total = r"{\mnary{\mnaryPr{\mchr \u8721?}{\msupHide on}}{\msub{\mr i}}{\msup}{\me{\mr k}}}"
    math = rf"{{\mmath{{\*\moMath{{\mr\mscr0 x=}}{{\mf{{\mnum{{\mr a}}}}{{\mden{{\mr b}}}}}}{total}}}}}"
    text = extract(".rtf", rtf(rf"\pard so {math}{{\mmathPict{{\pict 00}}}} end\par")).text
    assert text == "so $x=\\frac{a}{b}\\sum_{i}{k}$ end\n"


@NEEDS_HTML
def test_form_of_rtf_shows_its_values(extract):
    box = r"{\field{\*\fldinst FORMCHECKBOX {\*\formfield{\fftype1\ffres25\ffdefres1}}}{\fldrslt}}"
    choice = r"{\field{\*\fldinst FORMDROPDOWN {\*\formfield{\ffres1{\*\ffl red}{\*\ffl blue}}}}{\fldrslt}}"
    assert extract(".rtf", rtf(rf"\pard {box} yes, {choice}\par")).text == "☒ yes, blue\n"


def test_objects_and_contents_of_rtf_are_named(left_out):
    body = (
        r"{\object{\*\objclass Excel.Sheet.8}{\*\objdata 0105}{\result{\pict 00}}}"
        r"{\object{\*\objclass Equation.3}{\*\objdata 01}{\result{\pict 00}}}"
        r"{\field{\*\fldinst TOC \\o}{\fldrslt {A\tab 1\par}{B\tab 2\par}}}{\f3 \'01\'ff}"
        r"{\*\shppict{\pict{\*\picprop{\sp{\sn wzDescription}{\sv Plan}}}00}}{\nonshppict{\pict 00}}\par"
    )
    named = {"embedded file": 1, "equation": 1, "table of contents entry": 2, "symbol": 1}
    assert left_out(".rtf", rtf(body, r"{\fonttbl{\f3\fcharset2 Symbol;}}")) == named


def test_properties_of_rtf(extract):
    title = r"{\title {\upr{T}{\*\ud{T\'fc}}}}"
    head = rf"{{\info{title}{{\subject about}}{{\keywords a, b; c}}{{\revtim\yr2021\mo3\dy4}}{{\company X}}}}"
    found = extract(".rtf", rtf(r"\pard x\par", head))
    assert found.title == "Tü"
    assert found.metadata == {"description": "about", "keywords": ["a", "b", "c"], "modified": "2021-03-04T00:00:00"}


@pytest.mark.parametrize(
    "unit",
    [
        "{}",
        "}",
        r"\u8364?",
        r"\'e9",
        r"{\b a}{\i b}",
        r"\trowd\cellx1 a\cell\row ",
        r"{\footnote x}",
        r"{\field",
        r"\u9",
    ],
)
def test_repeated_words_of_rtf_take_linear_time(unit):
    started = time.process_time()
    with contextlib.suppress(DocumentError):  # of what is too deep
        RtfReader("a.rtf", 500).html(rtf(unit * (300_000 // len(unit))))
    assert time.process_time() - started < 10  # by the square of the length, it would be minutes
