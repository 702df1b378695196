"""The order and the letters of what stands on a page."""

import pytest

from tests.support.corpora.extraction import document
from tests.support.corpora.pdf_files import drawn, placed, to_unicode, unreadable_font

LEFT = [f"the left column has line {n} of it" for n in "abcdefg"]
RIGHT = [f"the right column has line {n} too" for n in "abcdefg"]


def rows(*columns, x=(72, 320), y=700):
    return [
        (x[n], y - 14 * row, text)
        for row, texts in enumerate(zip(*columns, strict=True))
        for n, text in enumerate(texts)
    ]


@pytest.mark.parametrize("order", ["by column", "by row"])
def test_columns_are_read_one_after_the_other(collection, order):
    texts = [
        (72, 740, "A title over both columns of the page"),
        *rows(LEFT, RIGHT),
        (72, 560, "A line below both of the columns"),
    ]
    if order == "by column":
        texts.sort(
            key=lambda text: (text[0] != 72, -text[1]) if 560 < text[1] < 740 else (2, 0) if text[1] == 560 else (-1, 0)
        )
    lines = document(collection, "a.pdf", placed(texts)).text.split("\n")
    assert [line for line in lines if "column has" in line] == [*LEFT, *RIGHT]
    assert lines[0].startswith("A title")
    assert lines[-2].startswith("A line below")


def test_tables_stay_in_rows(collection):
    names = ["Bolt", "Nut", "Washer", "Screw", "Rivet", "Hook"]
    table = rows(names, [str(n) for n in range(6)], [f"{n}.50 EUR" for n in range(6)], x=(72, 200, 320))
    lines = document(collection, "a.pdf", placed(table)).text.split("\n")
    assert lines[:6] == [f"{name} {n} {n}.50 EUR" for n, name in enumerate(names)]


def test_table_of_sentences_stays_in_rows(collection):
    numbers = [f"2.{n}.1" for n in range(7)]
    lines = document(collection, "a.pdf", placed(rows(numbers, RIGHT))).text.split("\n")
    assert lines[:7] == [f"{number} {text}" for number, text in zip(numbers, RIGHT, strict=True)]


def test_raised_digits_are_marked(collection):
    def draw(canvas):
        text = canvas.beginText(72, 700)
        for part, rise, size in [("10", 0, 12), ("6", 5, 7), (" m", 0, 12), ("2", 5, 7), (", 10", 0, 12), ("-3", 5, 7)]:
            text.setFont("Helvetica", size)
            text.setRise(rise)
            text.textOut(part)
        text.setFont("Helvetica", 12)
        text.setRise(0)
        text.textOut(" and H")
        text.setRise(-3)
        text.setFont("Helvetica", 7)
        text.textOut("2")
        canvas.drawText(text)

    assert document(collection, "a.pdf", drawn(draw)).text == "10^6 m^2, 10^-3 and H2\n"


def test_letters_set_apart_are_one_word(collection):
    def draw(canvas):
        for space, y in ((2, 700), (6, 660)):
            text = canvas.beginText(72, y)
            text.setFont("Helvetica", 12)
            text.setCharSpace(space)
            text.textOut("MAINTENANCE PLAN")
            canvas.drawText(text)

    assert document(collection, "a.pdf", drawn(draw)).text.split() == ["MAINTENANCE", "PLAN"] * 2


def test_invisible_and_rotated_text_is_read(collection):
    def draw(canvas):
        text = canvas.beginText(72, 700)
        text.setFont("Helvetica", 12)
        text.setTextRenderMode(3)
        text.textOut("words of an OCR program")
        canvas.drawText(text)
        canvas.translate(300, 300)
        canvas.rotate(90)
        canvas.drawString(0, 0, "along the edge")

    text = document(collection, "a.pdf", drawn(draw)).text
    assert "words of an OCR program" in text
    assert "along the edge" in text


def test_bullets_become_list_items(collection):
    # One is drawn with its item, the others before theirs.
    texts = [
        (72, 680, "\u2022"),
        (72, 660, "\u2022"),
        (72, 700, "\u2022 first"),
        (90, 680, "second"),
        (90, 660, "third"),
    ]
    text = document(collection, "a.pdf", placed(texts)).text
    assert [line for line in text.split("\n") if line] == ["- first", "- second", "- third"]


def test_ligatures_and_symbols_become_letters(collection):
    letters = to_unicode(g0036="\ufb01", g0037="\ufb03", g0038="\uf0b7", g0039="\U0001d465", g003A="ab", g0003=" ")
    found = document(collection, "a.pdf", unreadable_font(b"<003800030036003a00030037003a00030039> Tj", letters))
    assert (found.text, found.omissions) == ("- fiab ffiab \U0001d465\n", [])


def test_words_with_unreadable_letters_go(collection):
    letters = to_unicode(g0036="word", g0037="\ufffd", g0038="\ue123", g0003=" ")
    shown = b"<0036000300370003003600380003003600030036> Tj"
    found = document(collection, "a.pdf", unreadable_font(shown, letters))
    assert " ".join(found.text.split()) == "word word word"
    assert found.omissions[0]["part"] == "page with an unreadable font"


def test_letters_beyond_the_basic_plane_keep_places(collection):
    letters = to_unicode(g0036="\U0001d465", g0037="10", g0038="6", g0003=" ")
    shown = b"<00360003003600030037> Tj 5 Ts /F2 7 Tf <0038> Tj"
    assert document(collection, "a.pdf", unreadable_font(shown, letters)).text == "\U0001d465 \U0001d465 10^6\n"
