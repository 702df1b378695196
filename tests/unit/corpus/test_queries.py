import json

import pytest

from embedder_assets.corpus.collections import Collection
from embedder_assets.corpus.queries import (
    load_qrels,
    load_queries,
    qrels_files,
    refuse_empty_folder,
    synthetic_queries,
)
from embedder_assets.errors import CorpusError
from tests.conftest import PROJECT
from tests.support.permissions import permissions_count

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def collection(tmp_path) -> Collection:
    return Collection("kb", tmp_path, recursive=False)


def synthetic_texts(*headings: str | tuple[str, str], limit: int = 100) -> set[str]:
    pairs = [heading if isinstance(heading, tuple) else ("d", heading) for heading in headings]
    return {query.text for query in synthetic_queries("kb", pairs, limit)}


def test_queries_are_read_in_order(collection):
    rows = [{"_id": "q2", "text": "how to x"}, {"_id": "q1", "text": " why y \n", "metadata": {}}]
    (collection.root / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    queries, issues = load_queries(collection)
    assert [(q.collection, q.query_id, q.text, q.source) for q in queries] == [
        ("kb", "q2", "how to x", "provided"),
        ("kb", "q1", "why y", "provided"),
    ]
    assert issues == []


def test_bad_lines_become_issues_that_name_the_line(collection):
    lines = ['{"_id": "1", "text": "fine"}', "{", '{"text": "x"}', '{"_id": "1", "text": "again"}', '{"_id": "2"}']
    lines += ['{"_id": "3", "title": "t", "text": " "}', '{"_id": "4", "text": "\\ud800"}', '["no"]']
    (collection.root / "queries.jsonl").write_text("\n".join(lines))
    queries, issues = load_queries(collection)
    assert [q.query_id for q in queries] == ["1"]
    kinds = ["bad_json", "missing_id", "duplicate_id", "empty", "empty", "not_utf8", "bad_json"]
    assert [issue.kind for issue in issues] == kinds
    assert issues[2].path == "queries.jsonl:4"
    assert "line 1" in issues[2].message


def test_without_a_file_there_are_no_queries(collection):
    assert load_queries(collection) == ([], [])
    assert load_qrels(collection) == {}


@pytest.mark.parametrize(("name", "load"), [("queries.jsonl", load_queries), ("qrels.tsv", load_qrels)])
@pytest.mark.parametrize("problem", ["loop", "nowhere", "folder", "no permission", "root"])
def test_unreadable_file_is_an_error(collection, name, load, problem):
    path = collection.root / name
    if problem == "loop":
        path.symlink_to(name)
    elif problem == "nowhere":
        path.symlink_to("nowhere")
    elif problem == "folder":
        path.mkdir()
    else:
        path.write_text(HEADER)
        (path if problem == "no permission" else collection.root).chmod(0)
    with permissions_count(), pytest.raises(CorpusError, match=rf"{name}|a folder that can be read"):
        load(collection)
    collection.root.chmod(0o700)


def test_queries_outside_the_corpus_are_refused(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "corpus/queries.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(CorpusError, match="symlink"):
        load_queries(Collection("kb", tmp_path / "corpus", recursive=False))


def test_qrels_are_read(collection):
    (collection.root / "qrels.tsv").write_text(HEADER + "1\td a\t2\n1\tb\t0\r\n\n2\ta\t-1\n")
    assert load_qrels(collection) == {"1": {"d a": 2, "b": 0}, "2": {"a": -1}}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", 1),
        ("\n \n", 1),
        ("query-id,corpus-id,score\n1,a,1\n", 1),
        ("query-id\tcorpus-id\tgrade\n1\ta\t1\n", 1),
        (HEADER + "1\ta\tx\t1\t1\n", 2),
        (HEADER + "1\t\t1\n", 2),
        (HEADER + "1\ta\tnan\n", 2),
        (HEADER + "1\ta\tinf\n", 2),
        ("1 Q0 a 1\n1 Q0 b\n1 a 0\n", 2),
        (HEADER + "1\ta\t1\n1\tb\n", 3),
        (HEADER + "1\ta\thigh\n", 2),
        (HEADER + "1\ta\t1.5\n", 2),
        (HEADER + "1\ta\t1\n2\ta\t1\n1\ta\t0\n", 4),
    ],
)
def test_malformed_qrels_name_the_line(collection, content, line):
    (collection.root / "qrels.tsv").write_text(content)
    with pytest.raises(CorpusError, match=rf"qrels\.tsv:{line}: "):
        load_qrels(collection)


@pytest.mark.parametrize(
    "content",
    [
        "1\ta\t2\n1\tb\t0\n2\ta\t-1\n",
        HEADER + "1\ta\t2.0\n1\tb\t0.0\n2\ta\t-1\n",
        "query_id\tcorpus_id\tscore\r\n1\ta\t2\r\n1\tb\t0\r\n2\ta\t-1\r\n",
        "1 Q0 a 2\n1 Q0 b 0\n2 Q0 a -1\n",
        "1\t0\ta\t2\n1\t0\tb\t0\n2\t0\ta\t-1",
        "Query-ID Corpus-ID Score\n1   a  2\n1   b  0\n2   a -1\n",
        "\ufeff1\ta\t2\n1\tb\t0\n1\tb\t0\n2\ta\t-1\n",
        "\n1\ta\t+2\n 1 \tb\t0\n2\ta\t-1\n",
    ],
)
def test_qrels_have_several_spellings(collection, content):
    (collection.root / "qrels.tsv").write_text(content, "utf-8")
    assert load_qrels(collection) == {"1": {"a": 2, "b": 0}, "2": {"a": -1}}


def test_test_judgements_of_beir_count(collection):
    folder = collection.root / "qrels"
    folder.mkdir()
    (folder / "train.tsv").write_text(HEADER + "1\ta\t1\n")
    assert (qrels_files(collection), load_qrels(collection)) == ((None, ["qrels/train.tsv"]), {})
    (folder / "dev.tsv").write_text(HEADER + "2\ta\t1\n")
    assert load_qrels(collection) == {"2": {"a": 1}}
    (folder / "test.tsv").write_text(HEADER + "3\ta\t1\n")
    assert load_qrels(collection) == {"3": {"a": 1}}
    assert qrels_files(collection) == ("qrels/test.tsv", ["qrels/dev.tsv", "qrels/train.tsv"])
    (collection.root / "qrels.tsv").write_text(HEADER + "4\ta\t1\n")
    assert load_qrels(collection) == {"4": {"a": 1}}


def test_unreadable_folder_of_judgements_is_an_error(collection):
    folder = collection.root / "qrels"
    folder.mkdir()
    (folder / "test.tsv").write_text(HEADER + "1\ta\t1\n")
    folder.chmod(0)
    with permissions_count(), pytest.raises(CorpusError, match="qrels"):
        load_qrels(collection)
    folder.chmod(0o700)


def test_queries_may_have_metadata(collection):
    rows = [
        {"_id": at, "text": "q", "metadata": each} for at, each in enumerate([{}, {"a": 1}, None, "x", [1], {"acl": 1}])
    ]
    (collection.root / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries, issues = load_queries(collection)
    assert (len(queries), issues) == (6, [])


def test_qrels_that_are_not_utf8_are_refused(collection):
    (collection.root / "qrels.tsv").write_bytes(HEADER.encode() + b"\xff\ta\t1\n")
    with pytest.raises(CorpusError, match="UTF-8"):
        load_qrels(collection)


def test_synthetic_queries_are_distinct_stable_and_marked():
    pairs = [("a", "Guide > Install on Linux"), ("b", "install on linux"), ("a", "Rotate the keys")]
    queries = synthetic_queries("kb", pairs, 10)
    assert {q.text for q in queries} == {"Install on Linux", "Rotate the keys"}
    assert {q.source for q in queries} == {"synthetic"}
    assert all(q.query_id.startswith("syn-") for q in queries)
    assert queries == synthetic_queries("kb", reversed(pairs), 10)


def test_the_limit_takes_a_stable_sample():
    pairs = [("a", f"Topic number {word}") for word in ["one", "two", "three", "four", "five", "six", "seven"]]
    few, many = synthetic_queries("kb", pairs, 3), synthetic_queries("kb", pairs, 5)
    assert many[:3] == few
    assert synthetic_queries("kb", pairs, 0) == []


@pytest.mark.parametrize("text", ["Introduction", "OVERVIEW", "1.2.3", "2024", "", "3. Summary", "§ 4", "A > Notes:"])
def test_headings_that_say_nothing_make_no_query(text):
    assert synthetic_texts(text) == set()


@pytest.mark.parametrize(
    ("heading", "query"),
    [
        ("2.1 Reset a password", "Reset a password"),
        ("Chapter 3: Backups", "Backups"),
        ("V11.2 Secure Cryptography", "Secure Cryptography"),
        ("disaster-recovery_plan", "disaster recovery plan"),
        ("Kubernetes", "Kubernetes"),
        ("日本語の見出し", "日本語の見出し"),
    ],
)
def test_headings_become_plain_queries(heading, query):
    assert synthetic_texts(heading) == {query}


def test_widely_shared_heading_makes_no_query():
    shared = [(f"d{number}", "Detailed design") for number in range(4)]
    assert synthetic_texts(*shared, ("d1", "Borrow checker rules")) == {"Borrow checker rules"}
    assert synthetic_texts(*shared[:3]) == {"Detailed design"}


def test_real_collections_load():
    root = PROJECT.parent / "shared/data/collections"
    if not root.is_dir():
        pytest.skip("the development data (../shared/data) is not here")
    for path in sorted(root.iterdir()):
        collection = Collection(path.name, path, recursive=True)
        queries, issues = load_queries(collection)
        assert set(load_qrels(collection)) <= {q.query_id for q in queries}
        assert issues == []


def test_lost_folder_differs_from_no_queries(collection):
    with pytest.raises(CorpusError, match=r"an empty folder\. The queries are as they were"):
        refuse_empty_folder(collection)
    (collection.root / "a.md").write_text("# A\n")
    refuse_empty_folder(collection)
