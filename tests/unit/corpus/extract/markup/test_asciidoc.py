"""Documents in AsciiDoc."""

import json
import random
import re

import pytest

from embedder_assets.corpus.extract.formats import extract
from tests.support.corpora.extraction import document


def text_of(limits, source: str) -> str:
    found = extract(".adoc", f"Before.\n\n{source}\n\nAfter.\n".encode(), "a.adoc", limits)
    return found.text.removeprefix("Before.").removesuffix("After.\n").strip()


def test_the_header_is_title_and_metadata(collection):
    source = """// licence
= Pump *care*
Jo Smith <jo@example.org>
v1.2, 2024-03-05
:product: Turbine
:keywords: oil, pump
:description: How to care for \\
the {product}
:toc:

The {product} and {unknown}.
"""
    found = document(collection, "a.asciidoc", source)
    assert (found.title, found.media_type) == ("Pump care", "text/asciidoc")
    assert found.text == "# Pump *care*\n\nThe Turbine and {unknown}.\n"
    assert json.loads(found.source_metadata) == {
        "revnumber": "1.2",
        "revdate": "2024-03-05",
        "product": "Turbine",
        "keywords": ["oil", "pump"],
        "description": "How to care for the Turbine",
    }


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[[oil]]\n== Oil change ==", "## Oil change"),
        ("Oil change\n----------", "## Oil change"),
        ("* one\n** two\n. first\n.. second\n- last", "- one\n  - two\n1. first\n   1. second\n- last"),
        ("* one\n+\nmore", "- one\n\nmore"),
        ("CPU:: brain\nRAM::\n  memory", "**CPU**: brain\n\n**RAM**:\n  memory"),
        ("NOTE: Mind it.", "**Note**: Mind it."),
        ("[WARNING]\n====\nNever.\n\nEver.\n====", "**Warning**\n\nNever.\n\nEver."),
        (".Work\n[source,python]\n----\nx = {y}  // no\n----", "**Work**\n\n```python\nx = {y}  // no\n```"),
        ("....\nas it is\n....", "```\nas it is\n```"),
        ("```ruby\nputs 1\n```", "```ruby\nputs 1\n```"),
        ("[quote, Bohr]\n____\nIt is hard.\n____", "Bohr:\n\nIt is hard."),
        ("image::pump.png[The pump, 300]", "The pump"),
        ("ifdef::html[]\nShown.\nendif::[]", "Shown."),
        ("ifdef::html[Shown.]", "Shown."),
        ("'''", ""),
        ("See <<oil,the oil>>, <<care>>, xref:b.adoc#x[B page].", "See the oil, care, B page."),
        ("https://x.org[X^] and link:a.html[the *a*]", "[X](https://x.org) and [the *a*](a.html)"),
        ("kbd:[Ctrl+C] in menu:File[Save as].footnote:[Or not.]", "Ctrl+C in File > Save as. (Or not.)"),
        ("Oil.footnote:[See https://x.org[X].]", "Oil. (See [X](https://x.org).)"),
        ("A #mark# and [.red]##marked##, issue #12 and #13", "A mark and marked, issue #12 and #13"),
        ("`+a{b}+`, +lit+, stem:[x^2], pass:[raw]", "`a{b}`, lit, $x^2$, raw"),
        ("((term)) (((hidden)))", "term"),
        ('A "`quoted`" word +\nbelow', 'A "quoted" word\nbelow'),
        (":name: value\n\nThe {name}.", "The value."),
    ],
)
def test_blocks_and_inline_marks(limits, source, text):
    assert text_of(limits, source) == text


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ('[%header,cols="1,2"]\n|===\n|A |B\n\n|a1\n|b1\n|a2 |b2\n|===', ["A|B", "a1|b1", "a2|b2"]),
        ("|===\n|A |B\n\n|a1|b1\n|===", ["A|B", "a1|b1"]),
        ("|===\n|a1 |b1\n|a2 |b2\n|===", ["|", "a1|b1", "a2|b2"]),
        (
            '[cols="3*",options="header"]\n|===\n|A|B|C\n2+|wide|c1\n.2+|tall|b2|c2\n|b3|c3\n|===',
            ["A|B|C", "wide|wide|c1", "tall|b2|c2", "tall|b3|c3"],
        ),
        ("[%header]\n|===\n|A |B\n2*|same\n|a \\| b ^.^s|c\n|===", ["A|B", "same|same", "a \\| b|c"]),
        ('[%header]\n,===\nA,B\n"a, 1",b1\n,===', ["A|B", "a, 1|b1"]),
    ],
)
def test_tables(limits, source, rows):
    lines = text_of(limits, source).split("\n")
    cells = (re.split(r"(?<!\\)\|", line)[1:-1] for line in [lines[0], *lines[2:]])
    assert ["|".join(cell.strip() for cell in row) for row in cells] == rows


def test_what_is_left_out_is_named(collection):
    source = "Words.\n\n// one\n////\ntwo\n////\n\ninclude::b.adoc[]\n\n----\ninclude::c.py[]\n----\n"
    found = document(collection, "a.adoc", source)
    assert [(each["part"], each["count"], each["detail"]) for each in found.omissions] == [
        ("comment", 2, "one; two"),
        ("included file", 2, "b.adoc; c.py"),
    ]


LINES = [
    "= WORD", "== WORD", "WORD", "WORD:: WORD", "* WORD", ".. WORD", ".WORD", "|===", "|WORD |WORD", "2+|WORD", "----",
    "====", "[NOTE]", "TIP: WORD", "image::x[WORD]", "<<WORD>>", "+", "", "", "// WORD", "....", "footnote:[WORD]",
    "{WORD}", "WORD\n----", "ifdef::x[WORD]", "____", "a| WORD", "--", "***", ",===", "WORD,WORD", "include::WORD[]",
    "#WORD# +WORD+ ((WORD))", "WORD +", "[quote, WORD]", "https://WORD[WORD] kbd:[WORD]", "++++",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_no_word_is_lost(limits, seed):
    chance = random.Random(seed)
    lines = [chance.choice(LINES) for _ in range(30)]
    source = re.sub("WORD", lambda _: f"w{chance.randrange(10**9)}x", "First.\n\n" + "\n".join(lines))
    found = extract(".adoc", source.encode(), "a.adoc", limits)
    said = found.text + str(found.omissions)
    assert [word for word in re.findall(r"w\d+x", source) if word not in said] == []
