"""Running heads and feet go; what only looks like one stays."""

import pytest

from tests.support.corpora.extraction import document
from tests.support.corpora.pdf_files import FOOT, HEAD, paged, placed

BODY = [
    ["A pump", "turns."],
    ["A valve", "opens."],
    ["A gauge", "shows."],
    ["A motor", "hums."],
    ["A relay", "clicks."],
]
WORDS = "".join(f"{first}\n{second}\n\n" for first, second in BODY)[:-1]
ROMAN = ["", "i", "ii", "iii", "iv", "v"]


@pytest.mark.parametrize(
    "foot",
    [
        str,
        lambda n: str(n + 416),
        lambda n: f"- {n} -",
        lambda n: f"Page {n} of 5",
        lambda n: f"{n} / 5",
        lambda n: f"Seite {n} von 5",
        lambda n: f"p. {n}",
        lambda n: f"{n} | Page",
        lambda n: ROMAN[n],
        lambda n: ROMAN[n].upper(),
        lambda n: "Printed on paper",
    ],
)
def test_page_numbers_and_feet_go(collection, foot):
    assert document(collection, "a.pdf", paged(*BODY, foot=foot)).text == WORDS


@pytest.mark.parametrize(
    "head",
    [
        lambda n: f"Question {n}",
        lambda n: f"Chapter {n}",
        lambda n: f"Invoice {4150 + n}",
        lambda n: f"Invoice {4150 + 17 * n}",
        lambda n: f"Total: {95 * n}.00 EUR",
        lambda n: f"2026-03-0{n}",
        lambda n: f"{n}. Introduction",
        lambda n: str(n * n + 7),
        lambda n: ("Draft", "Checked", "Final")[n % 3],
    ],
)
def test_lines_unlike_page_numbers_stay(collection, head):
    text = document(collection, "a.pdf", paged(*BODY, head=head)).text
    assert [head(n) for n in range(1, 6) if head(n) not in text] == []


def test_heads_with_distant_page_numbers_go(collection):
    pages = [
        [(72, HEAD, "The manual"), (500, HEAD, str(n)), *((72, 700 - 20 * row, line) for row, line in enumerate(lines))]
        for n, lines in enumerate(BODY, start=1)
    ]
    assert document(collection, "a.pdf", placed(*pages)).text == WORDS


def test_heads_of_left_and_right_pages_go(collection):
    pages = [["words of", f"page {n}w"] for n in range(1, 13)]
    text = document(collection, "a.pdf", paged(*pages, head=lambda n: "The manual" if n % 2 else "Pumps")).text
    assert "manual" not in text
    assert "Pumps" not in text
    assert text.count("words of") == 12


def test_heads_and_feet_of_several_lines_go(collection):
    pages = [
        [
            (72, HEAD, "ACME Ltd"),
            (72, HEAD - 14, "Manual for pumps"),
            *((72, 700 - 20 * row, line) for row, line in enumerate(lines)),
            (72, FOOT + 14, "Confidential"),
            (72, FOOT, f"Page {n}"),
        ]
        for n, lines in enumerate(BODY, start=1)
    ]
    assert document(collection, "a.pdf", placed(*pages)).text == WORDS


def test_large_title_of_every_page_stays(collection):
    pages = [
        [(72, HEAD, "INVOICE", 24), (72, 760, f"No {n * 7}"), (72, 740, "for words of one size")] for n in range(1, 7)
    ]
    assert document(collection, "a.pdf", placed(*pages)).text.count("INVOICE") == 6


def test_equal_lines_in_the_middle_stay(collection):
    pages = [[f"Pump {n * n}", "Service: inspection", f"Hours: {n}", "Paid: yes"] for n in range(1, 9)]
    text = document(collection, "a.pdf", paged(*pages)).text
    assert (text.count("Service: inspection"), text.count("Paid: yes")) == (8, 8)


def test_short_documents_keep_heads(collection):
    text = document(collection, "a.pdf", paged(*BODY[:4], head=lambda _: "ACME Ltd")).text
    assert text.count("ACME Ltd") == 4
