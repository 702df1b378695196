"""A mail becomes text that says who wrote what to whom; what is not in it is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from embedder_assets.corpus.extract import Document
from tests.support.corpora.extraction import issue
from tests.support.corpora.extraction import read as read_file
from tests.support.corpora.mails import attach, mail
from tests.support.corpora.msg import attachment, compound_file, message, msg


def read(collection, content: bytes | EmailMessage, name: str = "a.eml") -> list[Document]:
    data = content if isinstance(content, bytes) else content.as_bytes()
    found = read_file(collection, name, data)
    assert all(isinstance(each, Document) for each in found), found
    return found


def parts(found: Document) -> dict[str, int]:
    return {each["part"]: each["count"] for each in found.omissions}


def multipart(kind: str, *children: str) -> bytes:
    body = "".join(f"--x\n{child}\n" for child in children)
    return f"From: a@b.c\nSubject: s\nContent-Type: multipart/{kind}; boundary=x\n\n{body}--x--\n".encode()


def test_headers_and_body_become_text(collection):
    content = mail("Hello Bob,\n\n> quoted\n\n-- \nAda", "Prüfung", Cc="Jürgen <j@b.c>", Message_ID="<2@b.c>")
    content["References"] = "<0@b.c> <1@b.c>"
    content["In-Reply-To"] = "<1@b.c>"
    (found,) = read(collection, content)
    assert found.text.splitlines() == [
        "Subject: Prüfung",
        "From: Ada <ada@example.org>",
        "To: bob@example.org",
        "Cc: Jürgen <j@b.c>",
        "Date: 2024-05-06T10:00:00+02:00",
        "",
        "Hello Bob,",
        "",
        "> quoted",
        "",
        "-- ",
        "Ada",
    ]
    assert (found.title, found.media_type) == ("Prüfung", "text/plain")
    assert json.loads(found.source_metadata) == {
        "created": "2024-05-06T10:00:00+02:00",
        "from": "Ada <ada@example.org>",
        "to": ["bob@example.org"],
        "cc": ["Jürgen <j@b.c>"],
        "message_id": "<2@b.c>",
        "in_reply_to": "<1@b.c>",
        "thread": "<0@b.c>",
    }


def test_html_is_markdown_and_text_beside_it_is_not(collection):
    html = "Content-Type: text/html\n\n<h1>Offer</h1><p>For <b>you</b></p>"
    footer = "Content-Type: text/plain\n\n# no heading\nList\n--"
    (found,) = read(collection, multipart("mixed", html, footer))
    assert found.media_type == "message/rfc822"
    assert "# Offer\n\nFor **you**\n\n\\# no heading\nList\n\\--" in found.text


ALTERNATIVES = {
    "html": ("<p>the <b>page</b>", "the **page**"),
    "empty html": ("<p><img src='cid:x'>", "the text"),
}


@pytest.mark.parametrize(("html", "taken"), ALTERNATIVES.values(), ids=ALTERNATIVES.keys())
def test_last_alternative_with_text_is_taken(collection, html, taken):
    plain, page = "Content-Type: text/plain\n\nthe text", f"Content-Type: text/html\n\n{html}"
    (found,) = read(collection, multipart("alternative", plain, page, "Content-Type: text/x-amp-html\n\n<p>amp"))
    assert found.text.split("\n\n", 1)[1].strip() == taken


def test_html_that_is_too_deep_leaves_the_text(collection):
    plain, page = "Content-Type: text/plain\n\nthe text", f"Content-Type: text/html\n\n{'<div>' * 5000}deep"
    (found,) = read(collection, multipart("alternative", plain, page))
    assert ("the text" in found.text, parts(found)) == (True, {"part of a mail": 1})


def test_invitation_is_text(collection):
    event = "SUMMARY:Test of the pump\\, part\r\n  two\r\nDTSTART;TZID=Europe/Berlin:20240506T103000\r\nEND:VEVENT"
    calendar = f"Content-Type: text/calendar; method=REQUEST\n\n{event}"
    (found,) = read(collection, multipart("alternative", "Content-Type: text/plain\n\nPlease come.", calendar))
    assert "Please come.\n\nSummary: Test of the pump, part two\nStart: 2024-05-06 10:30" in found.text


ENCODINGS = {
    "declared": b"Content-Type: text/plain; charset=windows-1252\n\ncaf\xe9",
    "declared wrongly": "Content-Type: text/plain; charset=us-ascii\n\ncafé".encode(),
    "unknown": b"Content-Type: text/plain; charset=x-bogus\n\ncaf\xe9",
    "none": "Content-Type: text/plain\n\ncafé".encode(),
    "html": b"Content-Type: text/html\n\n<meta charset=latin-1><p>caf\xe9",
    "base64": b"Content-Transfer-Encoding: base64\n\nY2Fmw6k=",
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9",
}


@pytest.mark.parametrize("part", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_encodings_are_understood(collection, part):
    (found,) = read(collection, b"Subject: caf\xc3\xa9 =?iso-8859-1?q?caf=E9?=\nFrom: a\n" + part)
    assert (found.title, found.text.strip().endswith("\ncafé")) == ("café café", True)


def test_what_no_encoding_has_is_counted(collection):
    (found,) = read(collection, b"From: a\n\nbad \x81\x81 bytes")
    assert parts(found) == {"character in an unknown encoding": 2}


def test_unknown_attachments_and_pictures_are_named(collection):
    content = attach(mail(), winmail_dat=b"x" * 300_000, photo_heic=b"x")
    (found,) = read(collection, content)
    (left_out,) = found.omissions
    assert (left_out["part"], left_out["count"]) == ("attachment", 2)
    assert left_out["detail"] == (
        "winmail.dat (application/octet-stream, 0.3 MB), photo.heic (application/octet-stream, 0.0 kB)."
    )
    inline = "Content-Type: image/png\nContent-ID: <1>\nContent-Disposition: inline\n\nPNG"
    (found,) = read(collection, multipart("related", "Content-Type: text/html\n\n<p>Look <img src='cid:1'>", inline))
    assert parts(found) == {"embedded image": 1}


NAMES = {
    "../../etc/passwd.txt": "passwd.txt",
    "C:\\Users\\ada\\notes.txt": "notes.txt",
    "/abs.txt": "abs.txt",
    "..": "attachment.txt",
    "": "attachment.txt",
    "a\tb\x07.txt": "a b .txt",
    "x" * 300 + ".txt": "x" * 146 + ".txt",
    "fix.patch": "fix.patch.txt",
    "=?utf-8?b?UHLDvGZ1bmcudHh0?=": "Prüfung.txt",
}


@pytest.mark.parametrize("name", NAMES)
def test_attachment_names_are_cleaned(collection, name):
    header = (
        f'Content-Type: text/plain\nContent-Disposition: attachment; filename="{name.replace(chr(92), chr(92) * 2)}"'
    )
    found = read(collection, multipart("mixed", "\nbody", f"{header}\n\nwords"))
    assert found[1].doc_id == f"a.eml/{NAMES[name]}"


def test_same_names_are_numbered(collection):
    part = "Content-Type: text/csv; name=list.csv\nContent-Disposition: attachment\n\na,b\n1,2"
    found = read(collection, multipart("mixed", part, part, part))
    assert [each.doc_id for each in found[1:]] == ["a.eml/list.csv", "a.eml/list (2).csv", "a.eml/list (3).csv"]


def test_type_names_a_file_without_suffix(collection):
    part = "Content-Type: text/markdown; name=notes\nContent-Disposition: attachment\n\n# Notes"
    assert read(collection, multipart("mixed", part))[1].doc_id == "a.eml/notes.md"


def test_mail_in_a_mail_is_named_by_its_subject(collection):
    inner = "Content-Type: message/rfc822\n\nFrom: x@y.z\nSubject: Re: a/b\n\ninner words"
    outer, found = read(collection, multipart("mixed", "\nbody", inner))
    assert (found.doc_id, found.title, "inner words" in outer.text) == ("a.eml/Re- a-b.eml", "Re: a/b", False)


def test_bounce_says_what_failed(collection):
    status = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; bob@b.c\nStatus: 5.1.1"
    part = f"Content-Type: message/delivery-status\n\n{status}"
    (found,) = read(collection, multipart("report", "\nIt failed.", part))
    assert "Final-Recipient: rfc822; bob@b.c\nStatus: 5.1.1" in found.text


SECRET = {
    "pgp": multipart("encrypted", "Content-Type: application/pgp-encrypted\n\nVersion: 1"),
    "pgp text": b"From: a\n\n-----BEGIN PGP MESSAGE-----\n\nabc\n-----END PGP MESSAGE-----",
    "s/mime": b"From: a\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nabc",
    "s/mime signed": b"From: a\nContent-Type: application/pkcs7-mime; smime-type=signed-data\n\nabc",
}


@pytest.mark.parametrize("content", SECRET.values(), ids=SECRET.keys())
def test_encrypted_mail_is_an_issue(collection, content):
    found = issue(collection, "a.eml", content)
    assert (found.kind, "Decrypt" in found.message) == ("encrypted_mail", True)


@pytest.mark.parametrize("content", [b"just words\nno mail", bytes(range(256)) * 9, b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["a.eml", "a.msg"])
def test_what_is_no_mail_is_an_issue(collection, content, name):
    assert issue(collection, name, content).kind == "unreadable_mail"


def test_signature_is_no_loss(collection):
    signature = "Content-Type: application/pgp-signature; name=signature.asc\n\nabc"
    (found,) = read(collection, multipart("signed", "Content-Type: text/plain\n\nsigned words", signature))
    assert ("signed words" in found.text, parts(found)) == (True, {})


# Outlook


def test_outlook_mail_reads_like_any_other(collection):
    files = (
        attachment("list.csv", b"a,b\n1,2\n"),
        attachment("plan.md", b"# Plan\n" * 1000, "text/markdown"),
        attachment("photo.heic", b"x"),
        attachment("", message(p0037="Inner", p1000="inner words")),
    )
    body = {"p0037": "The pump", "p1000": "Hello Bob\r\n-- \r\nAda", "p0C1A": "Ada", "p5D01": "ada@b.c", "p0E04": "Bob"}
    outer, *others = read(collection, msg(datetime(2024, 5, 6, 8, tzinfo=UTC), files, **body), "a.msg")
    assert (outer.title, outer.media_type, parts(outer)) == ("The pump", "text/plain", {"attachment": 1})
    assert outer.text.startswith("Subject: The pump\nFrom: Ada <ada@b.c>\nTo: Bob\nDate: 2024-05-06T08:00:00+00:00\n")
    assert outer.text.endswith("Hello Bob\n-- \nAda\n")
    assert [each.doc_id for each in others] == ["a.msg/list.csv", "a.msg/plan.md", "a.msg/Inner.eml"]
    assert "inner words" in others[2].text


def test_outlook_html_is_markdown(collection):
    (found,) = read(collection, msg(p0037="s", p1000="flat", p1013=b"<h1>Offer</h1><p>caf\xe9"), "a.msg")
    assert (found.media_type, found.text.split("\n\n", 1)[1]) == ("application/vnd.ms-outlook", "# Offer\n\ncafé\n")


def test_outlook_headers_are_used(collection):
    headers = "From: Eve <eve@b.c>\r\nMessage-ID: <9@b.c>\r\nContent-Type: multipart/mixed\r\n\r\n"
    (found,) = read(collection, msg(p0037="s", p1000="words", p007D=headers, p0C1A="other"), "a.msg")
    assert json.loads(found.source_metadata) == {"from": "Eve <eve@b.c>", "message_id": "<9@b.c>", "thread": "<9@b.c>"}


def test_outlook_body_in_rtf_alone_is_named(collection):
    (found,) = read(collection, msg(p0037="s", p1009=b"rtf"), "a.msg")
    assert parts(found) == {"body of a mail": 1}


def test_encrypted_outlook_mail_is_an_issue(collection):
    assert issue(collection, "a.msg", msg(p001A="IPM.Note.SMIME", p0037="s")).kind == "encrypted_mail"


def test_other_compound_file_is_no_mail(collection):
    assert issue(collection, "a.msg", compound_file({"WordDocument": b"x" * 5000})).kind == "unreadable_mail"


@pytest.mark.parametrize("size", [100, 600, 2000, 12_000])
def test_truncated_outlook_mail_is_an_issue(collection, size):
    whole = msg(None, (attachment("a.md", b"# x\n" * 3000),), p0037="s", p1000="words")
    assert issue(collection, "a.msg", whole[:size]).kind == "unreadable_mail"
