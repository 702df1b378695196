"""Words that look like Markdown stay words, and others get no escapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_assets.corpus.extract.html.escaping import escape_heading, escape_paragraph
from embedder_assets.corpus.markdown import headings, parse_blocks
from tests.support.corpora.web import page, text

MARKUP = [
    "# of seats", "###### six", "> quoted", "- dash", "* star", "+ plus", "1. one", "1986) was a year", "---", "* * *",
    "_ _ _", "```sh", "~~~", "<script> runs", "<!-- opens", "<?php", "<div>", "</table>", "<custom-tag>", "[a]: /b",
    "[a\nb]: /c", "line\n===", "line\n---", "a | b\n--- | ---", "<![CDATA[", "#", "-",
]  # fmt: skip
WORDS = [
    "#hashtag", "+49 30 1234", "-5 °C", "*emphatic*", "3.5 bar", "1.2.3 released", "a # b", "a <div> b", "a <!-- b",
    "<3",
    "x > y", "`code`", "[a](b)", "[1] see", "snake_case", "100% - 5", "= 5", "**bold** words", "2 * 3 * 4", "~ 5",
    "a\n= b",
]  # fmt: skip


def blocks(markdown: str) -> list[str]:
    return [token.type for token in parse_blocks(markdown)]


@pytest.mark.parametrize("words", MARKUP)
def test_markup_in_words_is_escaped(words):
    assert blocks(words) != ["paragraph_open", "inline", "paragraph_close"] or "|" in words
    escaped = escape_paragraph(words)
    assert escaped != words
    assert blocks(escaped) == ["paragraph_open", "inline", "paragraph_close"]
    assert escaped.replace("\\", "") == words


@pytest.mark.parametrize("words", WORDS)
def test_words_without_markup_get_no_escapes(words):
    assert escape_paragraph(words) == words
    assert blocks(words) == ["paragraph_open", "inline", "paragraph_close"]


@given(st.text(st.sampled_from("#-+*>`~=_<!?/[]():|&\\1. \nadivpre"), min_size=1, max_size=30))
def test_every_paragraph_stays_one(words):
    lines = "\n".join(line for line in (line.strip() for line in words.split("\n")) if line)
    if lines:
        tokens = parse_blocks(escape_paragraph(lines))
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


@given(st.text(st.sampled_from("#*_`[]()<>&;\\!{}~^ abp1"), min_size=1, max_size=40))
def test_every_heading_keeps_its_words(words):
    line = " ".join(words.split())
    if line:
        assert [found.title for found in headings(f"# {escape_heading(line)}\n")] == [line]


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("The C# language", "The C# language"),
        ("Learning C #", "Learning C \\#"),
        ("Use of *args and **kwargs", "Use of *args and **kwargs"),
        ("The *new* pump_rate", "The \\*new\\* pump_rate"),
        ("List<T> and &amp;", "List<T> and \\&amp;"),
    ],
)
def test_heading_is_escaped_only_where_needed(words, written):
    assert escape_heading(words) == written


def test_tags_in_words_end_no_section():
    found = page(
        "<h1>Escaping</h1><h2>Attack</h2><p>&lt;script&gt; runs.</p><p>&lt;!-- hides</p><h2>Defence</h2><p>Use a nonce."
        "<p># of attacks<p>    &nbsp; indented<br># again"
    )
    assert [heading.title for heading in headings(found.text)] == ["Escaping", "Attack", "Defence"]
    assert found.text.endswith("\\# of attacks\n\nindented\n\\# again\n")


def test_words_in_items_and_quotes_stay_words():
    assert (
        text("<ul><li># one<li>- two</ul><blockquote>1. three</blockquote>") == "- \\# one\n- \\- two\n\n> 1\\. three"
    )
