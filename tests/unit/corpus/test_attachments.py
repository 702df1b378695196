"""What is attached to a mail is there as long as the mail is, and is read again with it alone."""

from __future__ import annotations

import json

import polars as pl
import pytest

from embedder_assets.corpus import deletion_guard, ingest, ingest_scan
from embedder_assets.corpus.extract import limits as constants
from embedder_assets.errors import CorpusError
from embedder_assets.tables.store import TableStore
from tests.support.corpora.folder import doc_ids, kill, write
from tests.support.corpora.hostile import pdf
from tests.support.corpora.mails import attach, mail
from tests.support.corpora.msg import attachment, message, msg

ALL = ["a.eml", "a.eml/notes.md", "a.eml/parts.csv"]


@pytest.fixture
def put(folder):
    def put(name: str = "a.eml", body: str = "See the files.", **files) -> None:
        files = files or {"notes_md": "# Notes\n\nof the meeting", "parts_csv": "part,price\nPump,1\n"}
        (folder / name).write_bytes(attach(mail(body), **files).as_bytes())

    return put


def documents(store) -> dict[str, dict]:
    return {row["doc_id"]: row for row in store.read("documents", "kb").iter_rows(named=True)}


def issues(store) -> dict[str, str]:
    return dict(store.read("document_issues", "kb").select("path", "kind").iter_rows())


def test_attachments_are_documents_of_their_own(read, store, put):
    put()
    assert read().rows == 3
    rows = documents(store)
    assert [rows[name]["title"] for name in ALL] == ["The pump", "Notes", "parts"]
    assert [rows[name]["media_type"] for name in ALL] == ["text/plain", "text/markdown", "text/csv"]
    assert [rows[name]["source"] for name in ALL] == ["a.eml"] * 3
    assert [json.loads(rows[name]["metadata"]).get("attached_to") for name in ALL] == [None, "a.eml", "a.eml"]
    assert "Attachments: notes.md, parts.csv" in rows["a.eml"]["text"]


def test_unchanged_mail_keeps_its_attachments_unread(read, store, put, monkeypatch):
    put()
    read()
    monkeypatch.setattr("embedder_assets.corpus.extract.isolated.ExtractorPool.submit", _refused)
    outcome = read()
    assert (outcome.extracted, outcome.deleted, outcome.kept, doc_ids(store)) == (0, 0, 0, ALL)


def _refused(*_: object) -> None:
    raise AssertionError("a mail was read that nobody needs")


def test_attachment_gone_from_its_mail_is_deleted(read, store, put):
    put()
    read()
    put(notes_md="# Notes\n\nof the meeting")
    outcome = read()
    assert (outcome.deleted, outcome.kept, doc_ids(store)) == (1, 0, ALL[:2])


def test_deleted_mail_takes_its_attachments_along(read, store, put, folder):
    write(folder, other="one")
    put()
    read()
    (folder / "a.eml").unlink()
    assert (read().deleted, doc_ids(store)) == (3, ["other.md"])


def test_moved_mail_moves_its_attachments(read, store, put, folder):
    put()
    read()
    (folder / "a.eml").rename(folder / "b.eml")
    outcome = read()
    # The mail and what is attached to it have the same text under another id.
    assert (outcome.moved, outcome.deleted, doc_ids(store)) == (3, 0, [name.replace("a.", "b.", 1) for name in ALL])


@pytest.mark.parametrize("content", [b"", b"no mail", b"From: a\nContent-Type: multipart/encrypted\n\nx"])
def test_bad_mail_keeps_its_attachments(read, store, put, folder, content):
    put()
    read()
    (folder / "a.eml").write_bytes(content)
    for _ in range(2):  # also when it is known to be bad
        outcome = read()
        assert (outcome.deleted, outcome.kept, doc_ids(store), set(issues(store))) == (0, 3, ALL, {"a.eml"})
    put()
    assert (read().rows, issues(store)) == (3, {})


def test_folder_replacing_a_mail_deletes_nothing(read, store, put, folder):
    put()
    read()
    (folder / "a.eml").unlink()
    (folder / "a.eml").mkdir()
    outcome = read()
    assert (outcome.deleted, doc_ids(store), issues(store)) == (0, ALL, {"a.eml": "not_a_file"})


def test_bad_attachment_is_named_while_others_are_read(read, store, put):
    put(notes_md="# Notes", bad_pdf=b"no pdf", photo_heic=b"...")
    assert read().rows == 2
    assert issues(store) == {"a.eml": "partial", "a.eml/bad.pdf": "unreadable_pdf"}
    (partial,) = store.read("document_issues", "kb", where=pl.col("kind") == "partial").rows(named=True)
    assert (partial["part"], partial["count"], "photo.heic" in partial["message"]) == ("attachment", 1, True)
    before = store.read("document_issues", "kb")
    assert read().new_issues.height == 0
    assert store.read("document_issues", "kb").equals(before)


def test_attachment_turned_bad_keeps_its_earlier_version(read, store, put):
    put(notes_md="# Notes", plan_pdf=pdf("the plan"), old_md="old")
    read()
    put(notes_md="# Notes", plan_pdf=b"damaged")
    outcome = read()
    # What is gone is gone although another one is bad.
    assert (outcome.kept, outcome.deleted) == (1, 1)
    assert doc_ids(store) == ["a.eml", "a.eml/notes.md", "a.eml/plan.pdf"]
    (bad,) = store.read("document_issues", "kb").rows(named=True)
    assert (bad["path"], bad["message"].endswith(ingest.STILL_THERE)) == ("a.eml/plan.pdf", True)
    assert (read().kept, doc_ids(store)[-1]) == (0, "a.eml/plan.pdf")


def test_other_limits_reread_refused_attachments(read, store, put, monkeypatch):
    put(notes_md="# Notes", quotes_md=">" * 60 + " x")
    read()
    assert issues(store) == {"a.eml/quotes.md": "too_deep"}
    monkeypatch.setattr(constants, "MAX_MARKDOWN_NESTING", 60)
    outcome = read()
    assert (outcome.rows, outcome.extracted, issues(store)) == (3, 1, {})


def test_killed_run_reads_all_of_a_mail(read, store, put, monkeypatch):
    """Of a mail that is staged, something may be lacking: an attachment, or the issue of one."""
    monkeypatch.setattr(ingest_scan, "ROWS_PER_STAGED_FILE", 1)
    put(notes_md="# Notes", parts_csv="a,b\n1,2\n", bad_pdf=b"no pdf")
    with monkeypatch.context() as killed:
        finish = ingest_scan.IngestScan.finish
        calls = iter(range(9))
        killed.setattr(ingest_scan.IngestScan, "finish", lambda scan: (finish(scan), next(calls) and kill()))
        with pytest.raises(KeyboardInterrupt):
            read()
    assert not store.exists("documents")
    assert read().rows == 3
    assert (doc_ids(store), issues(store)) == (ALL, {"a.eml/bad.pdf": "unreadable_pdf"})


def test_kill_before_the_commit_repeats_the_mail(read, store, put, monkeypatch):
    put(bad_pdf=b"no pdf")
    read()
    before = documents(store)
    put(notes_md="# Notes", worse_pdf=b"no pdf either")
    with monkeypatch.context() as killed:
        killed.setattr(TableStore, "delete_and_insert", kill)
        with pytest.raises(KeyboardInterrupt):
            read()
    assert documents(store) == before
    assert (read().rows, issues(store)) == (2, {"a.eml/worse.pdf": "unreadable_pdf"})


def test_issue_of_a_version_that_was_never_published_goes(read, store, put, monkeypatch):
    put(notes_md="# Notes")
    read()
    put(notes_md="# Notes", bad_pdf=b"no pdf")
    with monkeypatch.context() as killed:
        killed.setattr(TableStore, "delete_and_insert", kill)
        with pytest.raises(KeyboardInterrupt):
            read()
    put(notes_md="# Notes")
    assert (read().extracted, issues(store)) == (0, {})


def test_lost_attachments_stop_the_collection(read, store, put, folder):
    files = {f"n{number}_md": f"# Note {number}" for number in range(2 * deletion_guard.FEW)}
    write(folder, other="one")
    put(**files)
    read()
    put(n0_md="# Note 0")
    with pytest.raises(CorpusError, match=r"19 of 22 gone at once, for example a\.eml/n1"):
        read()
    assert len(doc_ids(store)) == 22
    assert (read(max_lost_share=1).deleted, len(doc_ids(store))) == (19, 3)


def test_bad_attachments_count_as_documents(read, store, put, folder):
    write(folder, other="one")
    put(**{f"n{number}_pdf": b"no pdf" for number in range(deletion_guard.FEW + 1)})
    with pytest.raises(CorpusError, match=r"got 11 of 13, for example a\.eml/n0"):
        read()
    (folder / "a.eml").unlink()
    put(**{f"n{number}_md": "# Good" for number in range(deletion_guard.FEW + 1)})
    assert read().rows == 13


def test_mails_in_mails_are_documents(read, store, put):
    inner = attach(mail("Inner words", "Inner"), list_csv="a,b\n1,2\n")
    put(inner_eml=inner, notes_md="# Notes")
    read()
    rows = documents(store)
    assert set(rows) == {"a.eml", "a.eml/inner.eml", "a.eml/inner.eml/list.csv", "a.eml/notes.md"}
    assert {row["source"] for row in rows.values()} == {"a.eml"}
    assert json.loads(rows["a.eml/inner.eml/list.csv"]["metadata"])["attached_to"] == "a.eml/inner.eml"
    assert "Inner words" not in rows["a.eml"]["text"]


def test_mails_nest_to_a_limit_that_is_named(read, store, folder):
    (folder / "a.eml").write_bytes(
        b"From: a\nSubject: x\nContent-Type: message/rfc822\n\n" * 20_000 + b"From: b\n\nwords"
    )
    read()
    assert len(doc_ids(store)) == 6
    (named,) = store.read("document_issues", "kb").rows(named=True)
    assert (named["kind"], named["part"], "5 mails" in named["message"]) == ("partial", "attachment", True)


def test_outlook_mails_nest_to_a_limit_too(read, store, folder):
    inner = message(p0037="Level 0", p1000="words")
    for level in range(1, 12):
        inner = message(None, (attachment("", inner),), p0037=f"Level {level}", p1000="words")
    (folder / "a.msg").write_bytes(msg(None, (attachment("", inner),), p0037="Outer"))
    read()
    assert len(doc_ids(store)) == 6
    assert issues(store) == {max(doc_ids(store), key=len): "partial"}
