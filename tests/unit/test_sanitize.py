"""Outside text on its way to a person."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from embedder_assets.errors import EmbedderError
from embedder_assets.sanitize import inert_markdown, of_markdown, one_line, plain, plain_json

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=60)
READABLE = {
    "Persian joiner": "می‌خواهم",
    "Hindi conjunct": "क्‍ष",
    "Thai word break": "ไทย\u200bภาษา",
    "Hebrew with a mark": "שלום\u200f (1)",
    "family emoji": "👨‍👩‍👧",
    "emoji with selectors": "👁️‍🗨️ 1️⃣ ❤️",
    "flag of England": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "decomposed and stacked marks": "e\u0301 ệ",
    "wide and other spaces": "日本語　全角\u00a0x",
    "Arabic number sign": "\u0600\u0661\u0662",
    "markup of ours": "[bold]a[/] [/etc/fstab] \\[x]",
}
HOSTILE = {
    "line breaks": ("a\nb\r\x0b\x0c\x85\u2028\u2029c", r"a\nb\r\x0b\x0c\x85\u2028\u2029c"),
    "escape sequences": ("\x1b[31m\x9b2J\x1b]8;;http://e\x07", r"\x1b[31m\x9b2J\x1b]8;;http://e\x07"),
    "direction": ("\u202efdp.exe\u2066x\u2069", r"\u202efdp.exe\u2066x\u2069"),
    "hidden in ASCII": ("pay\u200bpal\u200d\ufeff\u2060\u00ad", r"pay\u200bpal\u200d\ufeff\u2060\xad"),
    "hidden data in selectors": ("é\ufe00\ufe01\ufe02", "é\ufe00\\ufe01\\ufe02"),
    "tags": ("\U000e0041\U000e0042", r"\U000e0041\U000e0042"),
    "blank letters": ("\u3164\uffa0", r"\u3164\uffa0"),
    "lone surrogates": ("a\udcff\ud800", r"a\udcff\ud800"),
    "marks without end": ("z" + "\u0301" * 8, "z" + "\u0301" * 6 + "\\u0301" * 2),
}
ACTIVE_MARKDOWN = [
    "![](http://evil.test/a.png)",
    "![a][b]\n\n[b]: http://evil.test/x",
    "[click](http://evil.test 'title')",
    "<http://evil.test>",
    "<img src=http://evil.test/x>",
    "<iframe src=//evil.test></iframe><style>@import url(//evil.test)</style>",
    r"\![a](http://evil.test) \\![a](http://evil.test) \\\[a](http://evil.test)",
    "`a` ![x](//evil.test) `![y](//evil.test)",
    "| a | ![x](//evil.test) |\n|---|---|\n| [b](//evil.test) | <svg onload=x> |",
    "[![x](//evil.test)](//evil.test)",
    "[x]: http://evil.test\n\n[x]",
    "&#33;&#91;x&#93;(//evil.test)",
]


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_readable_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_characters_become_visible(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(ANY_TEXT)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = plain(text)
    assert plain(shown) == shown
    assert {unicodedata.category(each) for each in shown}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert set(shown).isdisjoint("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(ANY_TEXT)
@example("\u0890")
def test_json_stays_json_and_steers_no_terminal(text: str) -> None:
    written = json.dumps({"text": [text]}, ensure_ascii=False, indent=2)
    for only_ascii in (False, True):
        shown = plain_json(written, only_ascii=only_ascii)
        assert json.loads(shown) == json.loads(json.dumps({"text": [text]}))
        assert {unicodedata.category(each) for each in shown.replace("\n", "")}.isdisjoint(
            {"Cc", "Cf", "Cs", "Zl", "Zp"}
        )
        assert shown.isascii() or not only_ascii


def test_a_message_of_a_library_is_one_line() -> None:
    assert one_line("Failed:\n\n  at\tline 3\u2028end") == "Failed: at line 3 end"


def test_any_error_is_one_line() -> None:
    error = EmbedderError("a\nfailed check x\n", expected="b\nc", got="\x1b[31m\n\nd", remedy="Do\nit.")
    assert str(error) == r"a\nfailed check x\n: expected b c, got \x1b[31m d. Do it."


@pytest.mark.parametrize("text", ACTIVE_MARKDOWN)
def test_markdown_neither_fetches_nor_links(text: str) -> None:
    assert of_markdown(inert_markdown(text)) == text
    for html in (True, False):
        kinds = {
            token.type
            for each in MarkdownIt("commonmark", {"html": html}).enable("table").parse(inert_markdown(text))
            for token in [each, *(each.children or [])]
        }
        assert kinds.isdisjoint({"image", "link_open", "html_inline", "html_block"})
