"""Objects of JSON files are documents with named fields; rows follow their files."""

from __future__ import annotations

import json

import pytest

from embedder_assets.corpus.deletion_guard import FEW
from embedder_assets.errors import CorpusError
from tests.support.corpora.extraction import document, issue
from tests.support.corpora.extraction import read as read_file
from tests.support.corpora.folder import doc_ids, write


def lines(*rows: object) -> str:
    return "".join(json.dumps(each) + "\n" for each in rows)


@pytest.fixture
def put(folder):
    def put(*rows: object, name: str = "items.jsonl") -> None:
        content = lines(*rows) if name.endswith("l") else json.dumps(rows)
        (folder / name).write_text(content, "utf-8")

    return put


def documents(store) -> dict[str, dict]:
    return {row["doc_id"]: row for row in store.read("documents", "kb").iter_rows(named=True)}


def issues(store) -> dict[str, str]:
    return dict(store.read("document_issues", "kb").select("path", "kind").iter_rows())


NAMES = ["items.jsonl", "items.ndjson", "items.json"]


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
def test_rows_are_documents_with_named_fields(read, store, put, name):
    first = {"id": 7, "title": "Pump", "text": "It pumps.\r\nWell.", "year": 2024, "tags": ["a", "b"], "ok": True}
    put(first, {"_id": "x/y", "headline": "Valve", "body": "# It closes."}, name=name)
    read()
    rows = documents(store)
    pump, valve = rows[f"{name}/7"], rows[f"{name}/x/y"]
    assert (pump["title"], pump["text"], pump["media_type"]) == ("Pump", "Pump\n\nIt pumps.\nWell.", "text/plain")
    assert json.loads(pump["metadata"]) == {"year": 2024, "tags": ["a", "b"], "ok": True}
    assert (valve["title"], valve["text"]) == ("Valve", "Valve\n\n# It closes.")
    assert {row["source"] for row in rows.values()} == {name}


def test_collection_options_name_the_fields(read, store, put, folder):
    (folder / "collection.toml").write_text(
        '[json]\ntext = ["spec.long", "note"]\ntitle = "label"\nid = "sku"\n', "utf-8"
    )
    put({"sku": "P1", "id": 3, "label": "Pump", "text": "not this", "spec": {"long": "Flow 12"}, "note": "New."})
    (folder / "one.json").write_text('{"sku": "P2", "label": "Valve", "note": "Old."}', "utf-8")
    read()
    rows = documents(store)
    assert (rows["items.jsonl/P1"]["title"], rows["items.jsonl/P1"]["text"]) == ("Pump", "Pump\n\nFlow 12\n\nNew.")
    assert (rows["one.json"]["title"], rows["one.json"]["text"]) == ("Valve", "Valve\n\nOld.")


def test_row_without_the_named_text_is_an_issue(read, store, put, folder):
    (folder / "collection.toml").write_text('[json]\ntext = ["spec"]\n', "utf-8")
    put({"id": 1, "spec": "words"}, {"id": 2, "text": "other"})
    read()
    assert (doc_ids(store), issues(store)) == (["items.jsonl/1"], {"items.jsonl:2": "empty"})
    assert "the field spec" in store.read("document_issues", "kb")["message"][0]


def test_changed_fields_read_json_alone_again(read, store, put, folder):
    write(folder, a="one")
    put({"id": 1, "text": "text", "note": "note"})
    read()
    (folder / "collection.toml").write_text('[json]\ntext = ["note"]\n', "utf-8")
    assert (read().extracted, documents(store)["items.jsonl/1"]["text"]) == (1, "note")


def test_wrong_options_delete_no_row(read, store, put, folder):
    options = folder / "collection.toml"
    options.write_text('[json]\nid = "sku"\n', "utf-8")
    write(folder, a="one")
    put({"sku": "P1", "text": "words"})
    put({"sku": "P2", "text": "words"}, name="more.json")
    read()
    options.write_text("[json\n", "utf-8")
    outcome = read()
    assert (outcome.deleted, doc_ids(store)) == (0, ["a.md", "items.jsonl/P1", "more.json/P2"])
    assert "collection.toml" in "".join(store.read("document_issues", "kb")["message"])


def test_object_without_text_lists_its_fields(collection):
    values = {
        "product": {"name": "Pump", "flow": 12.5, "parts": ["seal", "rotor"]},
        "checks": [{"by": "Ada", "ok": True}, {"by": "Bob", "ok": None}],
        "note": "two\nlines",
    }
    found = document(collection, "spec.json", json.dumps(values))
    assert found.text.splitlines() == [
        "product.name: Pump",
        "product.flow: 12.5",
        "product.parts: seal, rotor",
        "checks[1].by: Ada",
        "checks[1].ok: true",
        "checks[2].by: Bob",
        "note: two",
        "lines",
    ]
    assert found.title == "spec"


def test_lists_beside_the_text_are_named(collection):
    found = document(collection, "a.json", json.dumps({"text": "words", "log": [{"at": 1}], "acl": [{"odd": 1}]}))
    assert [(each["part"], each["count"]) for each in found.omissions] == [("field", 1)]
    assert json.loads(found.source_metadata) == {"acl": [{"odd": 1}]}  # what it means is for others to say


@pytest.mark.parametrize("content", ['"a text"', '["a", "text"]', '﻿"a text"'])
def test_json_without_objects_is_one_document(collection, content):
    assert "text" in document(collection, "a.json", content).text


def test_lines_in_a_json_file_are_rows(read, store, folder):
    (folder / "export.json").write_text(lines({"id": 1, "text": "one"}, {"id": 2, "text": "two"}), "utf-8")
    read()
    assert doc_ids(store) == ["export.json/1", "export.json/2"]
    assert read().extracted == 0


def test_ids_do_not_depend_on_rows_above(read, store, put):
    put({"text": "one"}, {"text": "two"})
    read()
    before = doc_ids(store)
    put({"text": "new"}, {"text": "one"}, {"text": "two"})
    outcome = read()
    assert (outcome.extracted, outcome.deleted, set(before) < set(doc_ids(store))) == (1, 0, True)


def test_same_row_without_an_id_counts_once(read, store, put):
    put({"text": "one"}, {"text": "one"})
    assert (read().rows, issues(store)) == (1, {})


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
def test_repeated_id_is_an_issue(read, store, put, name):
    put({"id": "a", "text": "one"}, {"id": "a", "text": "two"}, {"id": "b", "text": "three"}, name=name)
    read()
    assert (doc_ids(store), issues(store)) == ([f"{name}/a", f"{name}/b"], {f"{name}:2": "duplicate_id"})
    assert f"already in {name}:1" in store.read("document_issues", "kb")["message"][0]
    put({"id": "b", "text": "three"}, {"id": "b", "text": "two"}, name=name)
    assert (read().deleted, doc_ids(store)) == (1, [f"{name}/b"])


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
def test_only_changed_rows_change(read, store, put, name):
    put({"id": 1, "text": "one"}, {"id": 2, "text": "two"}, name=name)
    read()
    assert read().extracted == 0
    put({"id": 1, "text": "one"}, {"id": 3, "text": "three"}, name=name)
    assert (read().deleted, doc_ids(store)) == (1, [f"{name}/1", f"{name}/3"])


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
def test_bad_row_deletes_no_other(read, store, put, folder, name):
    put({"id": 1, "text": "one"}, {"id": 2, "text": "two"}, name=name)
    read()
    put({"id": 1, "text": "one, edited"}, [], name=name)
    for _ in range(2):
        outcome = read()
        assert (outcome.deleted, outcome.kept, doc_ids(store)) == (0, 1, [f"{name}/1", f"{name}/2"])
        assert issues(store) == {f"{name}:2": "bad_json"}
    put({"id": 1, "text": "one"}, {"id": 2, "text": "two"}, name=name)  # as it was
    read()
    assert (documents(store)[f"{name}/1"]["text"], issues(store)) == ("one", {})
    put({"id": 1, "text": "one"}, name=name)
    assert (read().deleted, doc_ids(store)) == (1, [f"{name}/1"])


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
@pytest.mark.parametrize("content", ["", "\n \n", "{", "[" * 100_000, "1" * 10_000])
def test_bad_file_keeps_its_rows(read, store, put, folder, name, content):
    write(folder, a="one")
    put({"id": 1, "text": "one"}, name=name)
    read()
    (folder / name).write_text(content, "utf-8")
    outcome = read()
    assert (outcome.deleted, outcome.kept, doc_ids(store)) == (0, 1, ["a.md", f"{name}/1"])
    assert store.count("document_issues", "kb") == 1
    (folder / name).unlink()
    assert (read().deleted, doc_ids(store)) == (1, ["a.md"])


def test_folder_replacing_rows_deletes_nothing(read, store, put, folder):
    put({"id": 1, "text": "one"})
    read()
    (folder / "items.jsonl").unlink()
    (folder / "items.jsonl").mkdir()
    assert (read().deleted, doc_ids(store), issues(store)) == (0, ["items.jsonl/1"], {"items.jsonl": "not_a_file"})


def test_lost_rows_stop_the_collection(read, store, put):
    put(*({"id": number, "text": f"text {number}"} for number in range(2 * FEW)))
    read()
    put({"id": 0, "text": "text 0"})
    with pytest.raises(CorpusError, match=r"19 of 20 gone at once, for example items\.jsonl/1"):
        read()


def test_bad_rows_count_as_documents(read, store, put, folder):
    put({"id": 0, "text": "text"}, *([] for _ in range(FEW + 1)))
    with pytest.raises(CorpusError, match=r"got 11 of 12, for example items\.jsonl:10"):
        read()


def test_beir_names_keep_their_meaning(read, store, put, folder):
    put({"_id": "q", "text": "a query"}, name="queries.jsonl")
    put({"id": "a", "text": "words"})
    read()
    assert doc_ids(store) == ["items.jsonl/a"]
    put({"_id": "a", "text": "words"}, name="corpus.jsonl")
    read(max_lost_share=1)
    assert doc_ids(store) == ["a"]


HOSTILE = {
    "deep": ('{"a": ' + "[" * 100_000, "bad_json"),
    "digits": ('{"n": ' + "1" * 1_000_000 + "}", "bad_json"),
    "surrogate": (r'{"text": "\ud800"}', "not_utf8"),
    "nul": (r'{"text": "a\u0000b"}', "binary"),
    "nested": ('{"a": ' * 200 + "1" + "}" * 200, "too_deep"),
    "empty": ("{}", "empty"),
    "endless id": (json.dumps({"id": "x" * 5000, "text": "x"}), "missing_id"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_hostile_json_is_an_issue(collection, content, suffix):
    text, kind = content
    assert issue(collection, f"a.{suffix}", text, max_document_mb=2).kind == kind


def test_long_paths_before_many_values_end_as_too_long(collection):
    values: object = list(range(2000))
    inner = {f"field{number}": number for number in range(50_000)}
    values = inner
    for _ in range(20):
        values = {"x" * 1000: values}
    assert issue(collection, "a.json", json.dumps(values), max_document_mb=2).kind == "too_long"


def test_row_over_the_limit_is_named_by_line(collection):
    found = read_file(collection, "a.jsonl", lines({"id": 1, "text": "x"}, {"id": 2, "text": "x" * 2_000_000}))
    assert [getattr(each, "doc_id", None) or (each.path, each.kind) for each in found] == [
        "a.jsonl/1",
        ("a.jsonl:2", "too_large"),
    ]


def test_json_attachment_has_rows_too(read, store, folder):
    from tests.support.corpora.mails import attach, mail

    files = {"rows_json": json.dumps([{"id": 1, "text": "one"}]), "lines_jsonl": lines({"id": 2, "text": "two"})}
    (folder / "a.eml").write_bytes(attach(mail(), **files).as_bytes())
    read()
    assert doc_ids(store) == ["a.eml", "a.eml/lines.jsonl/2", "a.eml/rows.json/1"]
    assert json.loads(documents(store)["a.eml/rows.json/1"]["metadata"]) == {"attached_to": "a.eml"}
    assert read().extracted == 0
