"""The metadata of documents follows their sources and the files of their collection; nothing else is computed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedder_assets.corpus.extract import file_reader
from embedder_assets.corpus.extract.extracted import Omission
from tests.support.corpora.folder import kill, row, rows_of, write
from tests.support.permissions import permissions_count


@pytest.fixture
def source(monkeypatch):
    """Sets what the reader returns as metadata."""

    def source(**fields):
        real = file_reader.extract

        def extract(*args):
            return replace(real(*args), metadata=fields)

        monkeypatch.setattr(file_reader, "extract", extract)

    return source


def rules(folder, *lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, "utf-8")


def metadata(store) -> dict:
    rows = store.read("documents", "kb", ["doc_id", "metadata"])
    return {doc_id: json.loads(text) for doc_id, text in rows.iter_rows()}


def public(store) -> dict:
    return dict(store.read("documents", "kb", ["doc_id", "public"]).iter_rows())


def issues(outcome) -> list:
    return outcome.issues.select("path", "kind").rows()


# What a document says


def test_fields_of_a_source_are_kept(read, folder, store, source):
    source(Product="pump", year=2020, draft=False, when="2020-01-02T03:04:05Z", tags=["a", "b"], site={"name": "x"})
    write(folder, a="text")
    read()
    assert metadata(store)["a.md"] == {
        "product": "pump",
        "year": 2020,
        "draft": False,
        "when": "2020-01-02T03:04:05Z",
        "tags": ["a", "b"],
        "site.name": "x",
    }


def test_author_is_kept_on_request_only(read, folder, store, source):
    source(author="Jane", authors=["Jane"], year=1)
    write(folder, a="text")
    read()
    everything = store.read("documents", "kb").drop("text").write_json()
    assert "Jane" not in everything
    (folder / "collection.toml").write_text("author = true\n")
    outcome = read()
    assert metadata(store)["a.md"] == {"author": "Jane", "authors": ["Jane"], "year": 1}
    assert (outcome.deleted, outcome.issues.height) == (0, 0)
    (folder / "collection.toml").write_text("author = tru\n")
    assert read().extracted == 0
    (folder / "collection.toml").unlink()
    read()
    assert metadata(store)["a.md"] == {"year": 1}


def test_rows_have_metadata(read, folder, store):
    (folder / "corpus.jsonl").write_text(row("1", metadata={"Url": "x", "n": 2}) + row("2", metadata=None) + row("3"))
    read()
    assert metadata(store) == {"1": {"url": "x", "n": 2}, "2": {}, "3": {}}


def test_metadata_alone_makes_no_new_text(read, folder, store, tmp_path):
    (folder / "corpus.jsonl").write_text(row("1", metadata={"n": 1}))
    read()
    before = store.read("documents", "kb", ["doc_id", "title", "content_sha256"])
    (folder / "corpus.jsonl").write_text(row("1", metadata={"n": 2}))
    read()
    assert store.read("documents", "kb", before.columns).equals(before)
    assert metadata(store) == {"1": {"n": 2}}


# metadata.jsonl


def test_rules_add_fields_without_reading(read, folder, store, monkeypatch):
    write(folder, a="one", b="two")
    read()
    rules(folder, {"glob": "*.md", "product": "pump", "year": 1}, {"glob": "b.md", "year": 2, "product": None})
    monkeypatch.setattr(file_reader, "extract", None)
    outcome = read()
    assert (outcome.extracted, outcome.metadata_changed, issues(outcome)) == (0, 2, [])
    assert metadata(store) == {"a.md": {"product": "pump", "year": 1}, "b.md": {"year": 2}}
    assert read().metadata_changed == 0
    (folder / "metadata.jsonl").unlink()
    assert read().metadata_changed == 2
    assert metadata(store) == {"a.md": {}, "b.md": {}}


def test_no_change_makes_no_commit(read, folder, store):
    write(folder, a="one")
    rules(folder, {"glob": "a.md", "x": 1})
    read()
    version = store.version("documents")
    read()
    assert store.version("documents") == version


def test_rules_of_a_killed_run_are_not_used(read, folder, store, monkeypatch):
    write(folder, a="one")
    rules(folder, {"glob": "a.md", "x": 1})
    with monkeypatch.context() as killed:
        killed.setattr(type(store), "delete_and_insert", kill)
        with pytest.raises(KeyboardInterrupt):
            read()
    rules(folder, {"glob": "a.md", "x": 2})
    read()
    assert metadata(store) == {"a.md": {"x": 2}}


def test_a_document_that_is_kept_follows_its_rules(read, folder, store):
    write(folder, a="one")
    read()
    (folder / "a.md").write_bytes(b"")
    rules(folder, {"glob": "a.md", "acl": ["g"]})
    outcome = read()
    assert (outcome.kept, metadata(store)) == (1, {"a.md": {"acl": ["g"]}})


def test_a_large_collection_is_written_as_a_stream(read, folder, store, monkeypatch):
    write(folder, **{f"d{number}": f"text {number}" for number in range(20)})
    read()
    monkeypatch.setattr("embedder_assets.tables.store.MERGE_ROWS", 5)
    rules(folder, {"glob": "d1*", "x": 1})
    write(folder, d0="another text")
    assert read().metadata_changed == 11
    assert sum(bool(fields) for fields in metadata(store).values()) == 11
    assert store.count("documents", "kb") == 20


@pytest.mark.parametrize(
    ("line", "path", "kind"),
    [
        ("{", "metadata.jsonl:1", "bad_metadata"),
        ("[]", "metadata.jsonl:1", "bad_metadata"),
        ('{"product": "x"}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": 5, "x": 1}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "", "x": 1}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "*"}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "[z-a].md", "x": 1}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "*", "x": 1, "x": 2}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "*", "x": NaN}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "*", "x": [[1]]}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "*", "title": "x"}', "metadata.jsonl:1", "bad_metadata"),
        ('{"glob": "nothing", "x": 1}', "metadata.jsonl:1", "metadata_unmatched"),
        ("[" * 100_000, "metadata.jsonl:1", "bad_metadata"),
    ],
)
def test_a_faulty_line_is_named(read, folder, store, line, path, kind):
    write(folder, a="one")
    (folder / "collection.toml").write_text("public = true\n")
    rules(folder, line)
    assert issues(read()) == [(path, kind)]
    assert public(store) == {"a.md": True}
    assert issues(read()) == [(path, kind)]


# Who may see it


@pytest.mark.parametrize(
    "line",
    [
        '{"glob": "*", "acl": 5}',
        '{"glob": "*", "acl": null}',
        '{"glob": "*", "acl": {"read": ["g"]}}',
        '{"glob": "*", "acl": ["g", 5]}',
        '{"glob": "*", "acl": ["g", ""]}',
        '{"glob": "*", "acl": ["g"], "ACL": ["h"]}',
        '{"glob": "*", "acl.read": ["g"]}',
        '{"glob": "*", "acl": ["g"], "acl": ["h"]}',
        '{"glob": "*", "acl": ["g"]',
        '{"acl": ["g"]}',
        '{"glob": "[z-a]", "acl": ["g"]}',
        '{"glob": "*", "\\u0061cl": ["g"',
        '{"glob": "*", "acl": ["\\ud800"]}',
        '{"glob": "*", "acl": ["g"]}' + " " * 1_000_000,
    ],
)
def test_a_broken_acl_opens_nothing(read, folder, store, line):
    write(folder, a="one")
    (folder / "collection.toml").write_text("public = true\n")
    rules(folder, line)
    outcome = read()
    assert metadata(store) == {"a.md": {"acl": []}}
    assert public(store) == {"a.md": False}
    assert issues(outcome) == [("metadata.jsonl:1", "bad_metadata")]


@pytest.mark.parametrize("acl", [5, None, {"a": 1}, [1], "", [[]]])
def test_a_broken_acl_of_a_row_opens_nothing(read, folder, store, acl):
    (folder / "collection.toml").write_text("public = true\n")
    lines = [row("1", metadata={"acl": acl}), row("2", acl=acl), row("3", metadata=json.dumps({"acl": ["g"]}))]
    (folder / "corpus.jsonl").write_text("".join([*lines, row("4")]))
    outcome = read()
    assert public(store) == {"1": False, "2": False, "3": False, "4": True}
    assert {kind for _, kind in issues(outcome)} == {"bad_metadata"}
    assert outcome.issues["count"].sum() == 3


def test_an_acl_beside_the_metadata_counts(read, folder, store):
    (folder / "corpus.jsonl").write_text(row("1", acl=["g"]) + row("2", acl=["g"], metadata={"acl": ["h"]}))
    read()
    assert metadata(store) == {"1": {"acl": ["g"]}, "2": {"acl": []}}


def test_a_later_acl_wins_over_a_broken_one(read, folder, store):
    write(folder, a="one", b="two")
    rules(folder, '{"acl": ', {"glob": "a.md", "acl": "group:x"})
    read()
    assert metadata(store) == {"a.md": {"acl": ["group:x"]}, "b.md": {"acl": []}}


def test_rules_that_cannot_be_read_close(read, folder, store):
    write(folder, a="one")
    (folder / "collection.toml").write_text("public = true\n")
    rules(folder, {"glob": "*", "acl": ["g"]})
    read()
    (folder / "metadata.jsonl").chmod(0)
    with permissions_count():
        outcome = read()
    assert (metadata(store), public(store)) == ({"a.md": {"acl": []}}, {"a.md": False})
    assert issues(outcome) == [("metadata.jsonl", "bad_metadata")]


def test_a_folder_that_cannot_be_listed_keeps_its_metadata(read, folder, store):
    write(folder, a="one")
    (folder / "collection.toml").write_text("public = true\n")
    rules(folder, {"glob": "*", "x": 1}, {"glob": "gone", "y": 1})
    before = read()
    folder.chmod(0)
    with permissions_count():
        outcome = read()
    folder.chmod(0o700)
    assert (metadata(store), public(store)) == ({"a.md": {"x": 1}}, {"a.md": True})
    assert outcome.fields.equals(before.fields)
    assert issues(outcome) == [(".", "unreadable"), ("metadata.jsonl:2", "metadata_unmatched")]
    assert read().metadata_changed == 0


def test_public_follows_its_file(read, folder, store):
    write(folder, a="one", b="two")
    rules(folder, {"glob": "b.md", "acl": ["g"]})
    read()
    assert public(store) == {"a.md": False, "b.md": False}
    (folder / "collection.toml").write_text("public = true\n")
    assert (read().metadata_changed, public(store)) == (1, {"a.md": True, "b.md": False})
    (folder / "collection.toml").write_text("public = true\npublic = true")
    outcome = read()
    assert (outcome.metadata_changed, public(store)) == (1, {"a.md": False, "b.md": False})
    assert issues(outcome) == [("collection.toml:2", "bad_options")]


def test_no_document_is_kept_for_faulty_metadata(read, folder, store):
    write(folder, a="one", b="two", c="three")
    read()
    (folder / "b.md").unlink()
    rules(folder, "{")
    (folder / "collection.toml").write_text("x")
    assert (read().deleted, sorted(metadata(store))) == (1, ["a.md", "c.md"])


@pytest.mark.parametrize(
    ("omission", "closed"),
    [
        (Omission("front matter", 1, "no YAML"), True),
        (Omission("metadata field", 1, "No text: acl."), True),
        (Omission("metadata field", 1, "No text: color."), False),
        (Omission("comment", 1, "on acl"), False),
    ],
)
def test_unread_front_matter_opens_nothing(read, folder, store, monkeypatch, omission, closed):
    real = file_reader.extract
    monkeypatch.setattr(file_reader, "extract", lambda *args: replace(real(*args), omissions=(omission,)))
    (folder / "collection.toml").write_text("public = true\n")
    write(folder, a="```yaml\nacl: [x\n```\n\ntext")
    read()
    assert public(store) == {"a.md": not closed}


def test_attachments_follow_the_rule_of_their_file(read, folder, store):
    (folder / "corpus.jsonl").write_text(row("mails/a.eml") + row("mails/a.eml/plan.pdf") + row("b.eml"))
    rules(folder, {"glob": "mails/*.eml", "acl": ["g"]}, {"glob": "a.eml", "x": 1})
    read()
    both = {"acl": ["g"], "x": 1}
    assert metadata(store) == {"mails/a.eml": both, "mails/a.eml/plan.pdf": both, "b.eml": {}}


# The schema


def test_the_schema_is_inferred(read, folder, store, tmp_path):
    values = [{"y": 1, "t": "2020-01-01", "s": "x"}, {"y": 2, "t": "2021-02-03T04:05", "s": "2020-01-01"}]
    values += [{"y": "unknown", "t": "soon", "l": ["a"], "b": True}]
    (folder / "corpus.jsonl").write_text("".join(row(str(at), metadata=each) for at, each in enumerate(values)))
    outcome = read()
    assert rows_of(tmp_path / "home", "metadata_fields").drop("collection").rows() == [
        ("b", "boolean", 1, 0),
        ("l", "list", 1, 0),
        ("s", "text", 2, 0),
        ("t", "time", 3, 1),
        ("y", "number", 3, 1),
    ]
    conflicts = outcome.issues.select("path", "kind", "part", "count").rows()
    assert conflicts == [("2", "metadata_conflict", "t", 1), ("2", "metadata_conflict", "y", 1)]
    assert "expected number as in 2 of 3 documents, got text in 1, for example 2" in outcome.issues["message"][1]


def test_a_field_that_is_gone_leaves_the_schema(read, folder, store):
    write(folder, a="one")
    rules(folder, {"glob": "a.md", "x": 1})
    read()
    (folder / "metadata.jsonl").unlink()
    assert read().fields.height == 0
    assert store.count("metadata_fields", "kb") == 0


def test_conflicts_are_no_unusable_documents(read, folder):
    lines = [row(str(at), metadata={f"f{at}": [[1]], "x": at % 2 == 0 or "a"}) for at in range(40)]
    (folder / "corpus.jsonl").write_text("".join(lines))
    assert (read().rows, read().new_issues.height) == (40, 0)


def test_fields_without_end_stay_bounded(read, folder, store):
    lines = [
        row(str(at), metadata={f"f{at}_{each}": [[1]] if each == 0 else 1 for each in range(30)}) for at in range(200)
    ]
    (folder / "corpus.jsonl").write_text("".join(lines))
    outcome = read()
    assert store.count("metadata_fields", "kb") == 1000
    assert outcome.issues.height <= 102
    assert outcome.issues.filter(outcome.issues["kind"] == "bad_metadata")["count"].sum() == 200


@pytest.mark.parametrize("depth", [9, 12, 900, 950, 970, *range(980, 1000, 2), 5000])
def test_no_depth_of_a_row_ends_the_run(read, folder, store, depth):
    deep = '{"a": ' * depth + "1" + "}" * depth
    listed = "[" * depth + "1" + "]" * depth
    (folder / "corpus.jsonl").write_text(f'{{"_id": "1", "text": "x", "metadata": {deep}}}\n' + row("2"))
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(f'{{"_id": "3", "text": "x", "metadata": {listed}}}\n')
    outcome = read()
    assert "2" in metadata(store)
    assert outcome.rows + outcome.issues.filter(outcome.issues["kind"] == "bad_json").height == 3
    assert read().extracted == 0
