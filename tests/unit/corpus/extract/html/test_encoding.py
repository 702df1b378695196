"""The encodings of pages, under the labels by which browsers know them."""

import codecs

import pytest

from embedder_assets.corpus.extract.html.encoding import decode_page
from embedder_assets.corpus.extract.plain import codec_of
from embedder_assets.errors import DocumentError
from tests.support.corpora.extraction import document, issue


def declaring(label: str, words: str, codec: str) -> bytes:
    return f'<meta http-equiv="Content-Type" content="text/html; charset={label}"><p>{words}'.encode(codec)


@pytest.mark.parametrize(
    ("label", "words", "codec"),
    [
        ("gb2312", "朱镕基", "gb18030"),
        ("GBK", "㐀𠮷", "gb18030"),
        ("iso-8859-1", "5 € … “so”", "cp1252"),
        ("us-ascii", "Grüße", "cp1252"),
        ("ks_c_5601-1987", "똠방각하", "cp949"),
        ("x-sjis", "①髙", "cp932"),
        ("shift_jis", "\uff5e", "cp932"),
        ("big5", "香港嘅", "big5hkscs"),
        ("iso-8859-9", "ığ€", "cp1254"),
        ("tis-620", "ไทย…", "cp874"),
        ("iso-2022-jp", "漢字", "iso2022_jp"),
        ("hz-gb-2312", "汉字", "hz"),
        ("x-mac-roman", "é", "mac_roman"),
        ("utf-16", "Grüße", "utf-8"),
    ],
)
def test_label_means_what_browsers_mean(label, words, codec):
    text, omissions = decode_page(declaring(label, words, codec), "a.html")
    assert text.endswith(f"<p>{words}")
    assert omissions == ()


def test_byte_order_mark_beats_the_label():
    data = codecs.BOM_UTF16_LE + "<meta charset=windows-1252><p>Grüße".encode("utf-16-le")
    assert decode_page(data, "a.html")[0].endswith("Grüße")


def test_utf8_beats_a_wrong_label():
    assert decode_page("<meta charset=iso-8859-1><p>Grüße".encode(), "a.html")[0].endswith("Grüße")


def test_label_in_a_comment_does_not_count():
    data = "<!-- <meta charset=koi8-r> --><meta charset=windows-1251><p>Привет".encode("cp1251")
    assert decode_page(data, "a.html")[0].endswith("Привет")


def test_label_of_an_xml_declaration_counts():
    data = '<?xml version="1.0" encoding="windows-1250"?><html><p>žluťoučký'.encode("cp1250")
    assert decode_page(data, "a.html")[0].endswith("žluťoučký")


def test_single_bad_byte_is_named_and_rest_read():
    text, (omission,) = decode_page(b"<meta charset=utf-8><p>words \xff and more", "a.html")
    assert text.endswith("words \ufffd and more")
    assert (omission.part, omission.count) == ("undecodable byte", 1)


def test_wrong_label_is_an_issue():
    data = declaring("utf-8", "äöüßéèà" * 20, "cp1252")
    with pytest.raises(DocumentError, match="utf-8"):
        decode_page(data, "a.html")


def test_unknown_label_is_an_issue(collection):
    assert issue(collection, "a.html", b"<meta charset=klingon><p>\xff").kind == "not_utf8"
    assert codec_of("klingon") is None


def test_html_is_read_in_its_declared_encoding(collection):
    page = "<meta charset=windows-1252><p>Grüße"
    assert "Grüße" in document(collection, "a.html", page.encode("windows-1252")).text
