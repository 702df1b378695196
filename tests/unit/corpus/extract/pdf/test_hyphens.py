"""Hyphens at the ends of lines: broken words are joined, compounds keep theirs."""

import pytest

from tests.support.corpora.extraction import document
from tests.support.corpora.pdf_files import paged, to_unicode, unreadable_font


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("the mainte-", "nance window", "the maintenance window"),
        ("a well-", "known pump", "a well-known pump"),
        ("a state-of-the-", "art pump", "a state-of-the-art pump"),
        ("the long-", "term plan", "the long-term plan"),
        ("a user-", "friendly pump", "a user-friendly pump"),
        ("a risk-", "based plan", "a risk-based plan"),
        ("on COVID-", "19 rules", "on COVID-19 rules"),
        ("in 2026-", "05 and later", "in 2026-05 and later"),
        ("by Meyer-", "Hofmann", "by Meyer-Hofmann"),
        ("an XML-", "encoded file", "an XML-encoded file"),
        ("send an e-", "mail today", "send an e-mail today"),
        ("THE MAINTE-", "NANCE WINDOW", "THE MAINTENANCE WINDOW"),
        ("pre-", "and post-war", "pre-\nand post-war"),
        ("some reali-", "stic words", "some realistic words"),
        ("short-", "ened words", "shortened words"),
        ("two words -", "and a dash", "two words -\nand a dash"),
    ],
)
def test_hyphens_at_line_ends(collection, first, second, expected):
    assert document(collection, "a.pdf", paged([first, second])).text == f"{expected}\n"


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        ("A database and databases.", "the database is\nA database"),
        ("One data-base, two data-bases.", "the data-base is\nOne data-base"),
        ("The data of a base, no more.", "the data-base is\nThe data"),
    ],
)
def test_document_decides_about_hyphens(collection, elsewhere, expected):
    assert document(collection, "a.pdf", paged(["the data-", "base is", elsewhere])).text.startswith(expected)


def test_soft_hyphens_inside_a_line_go(collection):
    letters = to_unicode(g0036="mainte", g0037="\u00ad", g0038="nance")
    content = unreadable_font(b"<003600370038> Tj", letters)
    assert document(collection, "a.pdf", content).text == "maintenance\n"


def test_words_are_joined_over_pages(collection):
    found = document(collection, "a.pdf", paged(["the mainte-"], ["nance window"]))
    assert found.text == "the maintenance window\n"
    assert [found.text[start:] for start in found.pages] == ["the maintenance window\n", "nance window\n"]
