"""Bytes that are written as letters, in any format."""

import base64
import hashlib
import random
import time

import pytest

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.markup.embedded_data import leave_out_embedded_data
from tests.support.corpora.extraction import document, issue

BYTES = random.Random(7).randbytes(900)
DATA = base64.b64encode(BYTES).decode()
URI = f"data:image/png;base64,{DATA}"


def lines(text: str, width: int) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize(
    ("written", "left", "part"),
    [
        (f"![the pump]({URI})", "[image: the pump]", "embedded image"),
        (f'![the pump](<{URI}> "a title")', "[image: the pump]", "embedded image"),
        (f"![]({URI})", "[image]", "embedded image"),
        ("![dot](data:image/gif;base64,R0lGODlhAQABAAAAACw=)", "[image: dot]", "embedded image"),
        (f"<img width=3 src='{URI}' alt='the pump'/>", "[image: the pump]", "embedded image"),
        (f'<img alt="the pump" src="data:image/png;base64,{lines(DATA, 76)}">', "[image: the pump]", "embedded image"),
        ("![x](data:image/svg+xml;utf8,<svg a='b'><path d='M 0 1'/></svg>)", "[image: x]", "embedded image"),
        ("![x](<data:image/svg+xml,%3Csvg a='b'%3E %3C/svg%3E>)", "[image: x]", "embedded image"),
        (f"[the manual](data:application/pdf;base64,{DATA})", "the manual", "embedded file"),
        (f"`url(data:font/woff2;base64,{DATA})`", "`url([embedded data])`", "embedded file"),
        (f'```json\n{{"key": "{DATA}"}}\n```', '```json\n{"key": "[embedded data]"}\n```', "embedded data"),
        (
            f"-----BEGIN X-----\n{lines(DATA, 64)}\n-----END X-----",
            "-----BEGIN X-----\n[embedded data]\n-----END X-----",
            "embedded data",
        ),
        (f"> {lines(DATA, 76).replace(chr(10), chr(10) + '> ')}", "[embedded data]", "embedded data"),
        (BYTES.hex(), "[embedded data]", "embedded data"),
        (lines(BYTES.hex(), 60), "[embedded data]", "embedded data"),
        (base64.b64encode(bytes(2000) + b"ab").decode(), "[embedded data]", "embedded data"),
    ],
)
def test_a_placeholder_stands_for_the_data(collection, written, left, part):
    found = document(collection, "a.md", f"Before.\n\n{written}\n\nAfter.\n")
    assert found.text == f"Before.\n\n{left}\n\nAfter.\n"
    assert [(each["part"], each["count"]) for each in found.omissions] == [(part, 1)]


def test_pictures_by_reference(collection):
    text = f"See ![][one], ![the pump][One] and ![two].\n\n[one]: <{URI}>\n[two]: {URI}\nEnd.\n"
    found = document(collection, "a.md", text)
    assert found.text == "See [image], [image: the pump] and [image: two].\n\nEnd.\n"
    assert [(each["part"], each["count"]) for each in found.omissions] == [("embedded image", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "See `data:text/plain;base64,SGVsbG8=`.",
        hashlib.sha512(b"").hexdigest(),
        "\n".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(9)),
        "/".join(["Some2Folder", "usr9", "Lib"] * 20),
        "-".join(["Some2Title", "of9", "It"] * 20),
        "_RNvNvXs2_C7mycrateINtC7mycrate3FoopEINtNtC3std7convert4FrompE4from3MSG\n" * 3,
        "x" * 500,
        "-" * 300,
        f"|{'-' * 200}|{'-' * 200}|",
        "\u6f22\u5b57" * 300,
        "GATTACA" * 60,
        "https://example.org/?q=" + "a-b." * 90,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKGl2y6zOLpHzJ0bRN1Wq5Fm1wq3cWkMSuT0G1WlY0Nd jo@host",
    ],
)
def test_what_people_read_stays(text):
    assert leave_out_embedded_data(Extracted(text)) == Extracted(text)


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.rst", "a.md"])
def test_it_holds_for_every_format(collection, name):
    found = document(collection, name, f"Some words.\n\n{DATA}\n\nMore words.\n")
    assert DATA[:40] not in found.text
    assert "More words" in found.text
    assert [each["part"] for each in found.omissions] == ["embedded data"]


def test_nothing_but_data_is_empty(collection):
    assert issue(collection, "a.md", f"![]({URI})\n").kind == "empty"


def test_pages_begin_where_they_did():
    found = leave_out_embedded_data(
        Extracted(f"one {DATA}\ntwo {DATA}\nthree", pages=(0, len(DATA) + 5, 2 * len(DATA) + 10))
    )
    assert [found.text[start:].split()[0] for start in found.pages] == ["one", "two", "three"]
    assert found.omissions[0].count == 2


@pytest.mark.parametrize(
    "text", ["![", "[", "data:,", "data:image/svg+xml,<svg ", "<img src=data:,", "aB3d" * 32 + " ", "a\n"]
)
def test_hostile_text_takes_little_time(text):
    started = time.perf_counter()
    leave_out_embedded_data(Extracted(text * (2_000_000 // len(text))))
    assert time.perf_counter() - started < 5
