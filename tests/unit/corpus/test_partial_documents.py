"""What a document has and its text lacks: rows of ``document_issues`` that follow the document."""

from __future__ import annotations

import docx

from tests.support.corpora.folder import write

PICTURE = f"![chart](data:image/png;base64,{'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf' * 4})\n"


def rows(outcome) -> list[tuple[str, str, str, int]]:
    return outcome.issues.select("path", "kind", "part", "count").rows()


def commented(path, comments: int) -> None:
    made = docx.Document()
    paragraph = made.add_paragraph("Seals last two years.")
    for number in range(comments):
        made.add_comment(paragraph.runs, f"remark {number}", author="A Reviewer")
    made.save(str(path))


def test_each_part_is_a_row_with_its_count(read, folder):
    commented(folder / "a.docx", 2)
    (folder / "b.md").write_text(f"# B\n\nwords\n\n{PICTURE}", "utf-8")
    outcome = read()
    assert rows(outcome) == [
        ("a.docx", "partial", "comment", 2),
        ("b.md", "partial", "embedded image", 1),
    ]
    assert outcome.issues["message"][0].startswith("comment: 2 not in the text.")
    assert outcome.rows == 2


def test_rows_stay_while_the_document_does(read, folder):
    commented(folder / "a.docx", 1)
    first = read()
    write(folder, b="words")
    second = read()
    assert second.extracted == 1
    assert rows(second) == rows(first)
    assert second.issues["first_seen"].equals(first.issues["first_seen"])
    assert second.new_issues.is_empty()


def test_rows_go_with_the_part_or_the_document(read, folder):
    commented(folder / "a.docx", 1)
    commented(folder / "b.docx", 1)
    read()
    commented(folder / "a.docx", 0)
    (folder / "b.docx").unlink()
    outcome = read()
    assert (rows(outcome), outcome.rows) == ([], 1)


def test_an_unreadable_version_keeps_the_rows_of_the_earlier_one(read, folder):
    commented(folder / "a.docx", 1)
    read()
    (folder / "a.docx").write_bytes(b"no archive")
    assert [row[1:3] for row in rows(read())] == [("partial", "comment"), ("unreadable_office", None)]


def test_partial_documents_are_no_unusable_ones(read, folder):
    for number in range(12):
        (folder / f"{number}.md").write_text(f"{number} words\n\n{PICTURE}", "utf-8")
    assert read().rows == 12
