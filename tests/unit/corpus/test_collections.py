import os
import re
from collections import Counter
from pathlib import Path

import pytest

from embedder_assets.corpus.collections import Collection, discover_collections, find_collection, refused_names
from embedder_assets.corpus.source_files import Listing, list_sources
from embedder_assets.errors import CorpusError
from embedder_assets.tables.store import TableStore
from tests.support.corpora.deep import LONG_NAME, nest
from tests.support.factories import make_documents
from tests.support.permissions import permissions_count


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# Text\n")


def ids(collection: Collection) -> list[str]:
    return [source.doc_id for source in list_sources(collection).sources]


def only_issue(collection: Collection):
    (issue,) = list_sources(collection).issues
    return issue


def test_each_sub_folder_is_a_collection(tmp_path):
    write(tmp_path, "b/x.md", "a/deep/er/y.txt", "a/B.md", "a/a.md")
    found = discover_collections(tmp_path)
    assert [(c.name, c.recursive) for c in found] == [("a", True), ("b", True)]
    assert ids(found[0]) == ["B.md", "a.md", "deep/er/y.txt"]


@pytest.mark.parametrize(("name", "remedy"), [("handbok", "Did you mean 'handbook'?"), ("zzz", "--corpus DIR")])
def test_unknown_collection_is_refused_with_a_remedy(tmp_path, name, remedy):
    write(tmp_path, "handbook/a.md")
    with pytest.raises(CorpusError, match=f"no such collection in .*{re.escape(remedy)}"):
        find_collection(tmp_path, name)


def test_loose_documents_form_their_own_collection(tmp_path):
    corpus = tmp_path / "kb"
    write(corpus, "loose.md", "sub/x.md")
    found = discover_collections(corpus)
    assert [(c.name, c.recursive) for c in found] == [("kb", False), ("sub", True)]
    assert ids(found[0]) == ["loose.md"]


def test_a_folder_without_sub_folders_is_one_collection(tmp_path, monkeypatch):
    corpus = tmp_path / "kb"
    write(corpus, "x.md")
    monkeypatch.chdir(corpus)
    assert [c.name for c in discover_collections(Path())] == ["kb"]


def test_empty_sub_folder_is_a_collection(tmp_path):
    write(tmp_path, "a/x.md", "photos/x.png")
    (tmp_path / "empty").mkdir()
    found = discover_collections(tmp_path)
    assert [c.name for c in found] == ["a", "empty", "photos"]
    assert list_sources(found[1]) == Listing()
    assert list_sources(found[2]) == Listing(ignored=Counter({".png": 1}), ignored_in={".png": "."})


def test_beir_folder_is_one_collection(tmp_path):
    corpus = tmp_path / "cranfield"
    write(corpus, "corpus.jsonl", "queries.jsonl", "sub/x.md", "readme.md")
    (found,) = discover_collections(corpus)
    assert found.name == "cranfield"
    assert ids(found) == ["corpus.jsonl"]


def test_beir_rows_replace_other_documents(tmp_path):
    write(tmp_path, "medline/corpus.jsonl", "medline/x.md")
    (found,) = discover_collections(tmp_path)
    assert ids(found) == ["corpus.jsonl"]


def test_clashing_names_are_refused_with_a_remedy(tmp_path):
    corpus = tmp_path / "kb"
    write(corpus, "loose.md", "kb/x.md")
    with pytest.raises(CorpusError, match="Move the loose documents"):
        discover_collections(corpus)


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "only_hidden", "only_images"])
def test_unusable_corpus_folder_is_refused(tmp_path, kind):
    corpus = tmp_path / "corpus"
    if kind == "file":
        corpus.write_text("x")
    elif kind != "missing":
        corpus.mkdir()
    if kind == "only_hidden":
        write(corpus, ".git/x.md", ".hidden.md")
    if kind == "only_images":
        write(corpus, "x.png")
    with pytest.raises(CorpusError, match=r"EMBEDDER_CORPUS_DIR"):
        discover_collections(corpus)


@pytest.mark.parametrize("name", ["a...b", "a\nb"])
def test_impossible_partition_name_is_refused(tmp_path, name):
    write(tmp_path, f"{name}/x.md")
    with pytest.raises(CorpusError, match="Rename the folder"):
        discover_collections(tmp_path)


def test_hidden_and_control_files_are_no_documents(tmp_path):
    write(tmp_path, "a/x.md", "a/.hidden.md", "a/.git/y.md", "a/queries.jsonl", "a/qrels.tsv", "a/qrels_graded.tsv")
    write(tmp_path, "a/sub/results.trec", "a/picture.PNG", "a/LICENSE")
    listing = list_sources(discover_collections(tmp_path)[0])
    assert [s.doc_id for s in listing.sources] == ["x.md"]
    assert listing.issues == []
    assert listing.ignored == {".trec": 1, ".png": 1, "": 1}


def test_suffixes_are_read_in_any_case(tmp_path):
    write(tmp_path, "a/X.MD", "a/y.Txt")
    assert ids(discover_collections(tmp_path)[0]) == ["X.MD", "y.Txt"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_symlink_out_of_the_corpus_is_refused(tmp_path, is_folder):
    corpus = tmp_path / "corpus"
    write(corpus, "a/x.md")
    write(tmp_path, "secret/s.md")
    link = corpus / "a" / ("link" if is_folder else "link.md")
    link.symlink_to(tmp_path / "secret" if is_folder else tmp_path / "secret/s.md")
    (collection,) = discover_collections(corpus)
    assert ids(collection) == ["x.md"]
    issue = only_issue(collection)
    assert (issue.kind, issue.path) == ("symlink_outside_corpus", link.name)
    assert "Copy the file" in issue.message


@pytest.mark.parametrize("name", ["corpus.jsonl", "x.md"])
def test_collection_symlinked_out_of_the_corpus_is_refused(tmp_path, name):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write(tmp_path, f"outside/{name}")
    (corpus / "a").symlink_to(tmp_path / "outside")
    (collection,) = discover_collections(corpus)
    assert ids(collection) == []
    assert only_issue(collection).kind == "symlink_outside_corpus"


def test_beir_symlink_out_of_the_corpus_is_refused(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write(tmp_path, "outside.jsonl")
    (corpus / "corpus.jsonl").symlink_to(tmp_path / "outside.jsonl")
    (collection,) = discover_collections(corpus)
    assert ids(collection) == []
    assert only_issue(collection).kind == "symlink_outside_corpus"


@pytest.mark.timeout(20)
def test_symlink_loops_end(tmp_path):
    write(tmp_path, "a/x.md", "a/sub/y.md", "b/z.md")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a")
    (tmp_path / "a/sub/up").symlink_to("..")
    (tmp_path / "a/other").symlink_to(tmp_path / "b")
    (tmp_path / "b/back").symlink_to(tmp_path / "a")
    (tmp_path / "a/loop.md").symlink_to("loop.md")
    listing = list_sources(discover_collections(tmp_path)[0])
    assert sorted(os.path.realpath(s.path) for s in listing.sources) == [
        os.path.realpath(tmp_path / name) for name in ("a/sub/y.md", "a/x.md", "b/z.md")
    ]
    assert [(i.path, i.kind) for i in listing.issues] == [("loop.md", "unreadable")]


def test_symlink_within_the_corpus_is_a_document(tmp_path):
    write(tmp_path, "a/x.md", "b/y.md")
    (tmp_path / "a/y.md").symlink_to("../b/y.md")
    assert ids(discover_collections(tmp_path)[0]) == ["x.md", "y.md"]


def test_files_that_cannot_be_read_are_issues(tmp_path, monkeypatch):
    write(tmp_path, "a/good.md", "a/locked.md")
    (tmp_path / "a/broken.md").symlink_to("nowhere.md")
    os.mkfifo(tmp_path / "a/pipe.md")
    # Root may read everything, so the refusal is played.
    monkeypatch.setattr(os, "access", lambda path, _mode, dir_fd=None: "locked" not in str(path))
    listing = list_sources(discover_collections(tmp_path)[0])
    assert [s.doc_id for s in listing.sources] == ["good.md"]
    assert [(i.path, i.kind) for i in listing.issues] == [
        (f"{n}.md", "unreadable") for n in ("broken", "locked", "pipe")
    ]
    assert "permission" in listing.issues[1].message


def test_unreadable_folder_is_an_issue(tmp_path):
    write(tmp_path, "a/good.md", "a/locked/x.md", "a/listed/sub/x.md")
    (tmp_path / "a/locked").chmod(0o300)
    (tmp_path / "a/listed").chmod(0o400)
    with permissions_count():
        (collection,) = discover_collections(tmp_path)
        listing = list_sources(collection)
    assert [source.doc_id for source in listing.sources] == ["good.md"]
    assert [(i.path, i.kind) for i in listing.issues] == [("listed/sub", "unreadable"), ("locked", "unreadable")]
    assert "no permission" in listing.issues[0].message


def test_unfollowable_symlinks_are_issues(tmp_path):
    """A name that leads nowhere now may have been a folder of documents."""
    write(tmp_path, "a/good.md")
    (tmp_path / "a/loop").symlink_to("loop")
    (tmp_path / "a/gone").symlink_to("../nowhere")
    assert {issue.path for issue in list_sources(discover_collections(tmp_path)[0]).issues} == {"loop", "gone"}


def test_a_collection_that_cannot_be_listed_stays_one(tmp_path):
    write(tmp_path, "a/x.md", "b/x.md")
    (tmp_path / "a").chmod(0)
    (tmp_path / "loop").symlink_to("loop")
    with permissions_count():
        found = discover_collections(tmp_path)
        issues = [only_issue(collection) for collection in (found[0], found[2])]
    assert [collection.name for collection in found] == ["a", "b", "loop"]
    assert [(issue.path, issue.kind) for issue in issues] == [(".", "unreadable")] * 2


@pytest.mark.parametrize("mode", [0o000, 0o300])
def test_unlistable_corpus_folder_is_refused(tmp_path, mode):
    corpus = tmp_path / "corpus"
    write(corpus, "a/x.md")
    corpus.chmod(mode)
    with permissions_count(), pytest.raises(CorpusError, match="permission on it"):
        discover_collections(corpus)


def test_corpus_behind_locked_folder_is_not_missing(tmp_path):
    write(tmp_path, "locked/corpus/a/x.md")
    (tmp_path / "locked").chmod(0)
    with permissions_count(), pytest.raises(CorpusError, match="got no permission"):
        discover_collections(tmp_path / "locked" / "corpus")


def test_documents_in_overlong_paths_are_listed(tmp_path):
    write(tmp_path, "a/x.md")
    nest(tmp_path / "a", 30, ["x.md"])
    (collection,) = discover_collections(tmp_path)
    listing = list_sources(collection)
    assert listing.issues == []
    deepest = f"{LONG_NAME}/" * 30 + "x.md"
    assert [source.doc_id for source in listing.sources] == [deepest, "x.md"]
    assert len(deepest) > 4096


BAD_NAMES = ["__HIVE_DEFAULT_PARTITION__", "a...b", "a\nb", "x" * 201, "\udce9"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_impossible_collection_name_spares_the_others(tmp_path, name):
    write(tmp_path, f"{name}/x.md")
    with pytest.raises(CorpusError, match=r"collection .*Rename the folder"):
        discover_collections(tmp_path)
    write(tmp_path, "good/x.md")
    assert [collection.name for collection in discover_collections(tmp_path)] == ["good"]
    (error,) = refused_names(tmp_path)
    assert str(error).startswith(f"collection {name!r}: expected ")


def test_badly_named_corpus_refuses_loose_documents(tmp_path):
    write(tmp_path / "a...b", "loose.md", "good/x.md")
    assert [collection.name for collection in discover_collections(tmp_path / "a...b")] == ["good"]
    assert len(refused_names(tmp_path / "a...b")) == 1


ODD_NAMES = [
    "__hive_default_partition__",
    "%5F%5FHIVE_DEFAULT_PARTITION__",
    "%2F",
    "x=y",
    "collection=b",
    "NULL",
    "null",
    "1",
]
ODD_NAMES += [
    "trailing ",
    "trailing.",
    " ",
    "é",
    "e\u0301",
    "Case",
    "case",
    "a'b",
    'a"b',
    "a\\b",
    "{c}",
    "[s]",
    "*",
    "a?b#c",
]
ODD_NAMES += ["a|b", "~", "\u202ertl", "\u200b", "_delta_log", "latest.json", "-", "a..b"]


def test_odd_names_are_collections_of_their_own(tmp_path):
    """Each in a real table, next to those that are nearly the same."""
    write(tmp_path / "corpus", *(f"{name}/x.md" for name in ODD_NAMES))
    names = [collection.name for collection in discover_collections(tmp_path / "corpus")]
    assert names == sorted(ODD_NAMES)
    store = TableStore(tmp_path / "home")
    for version in ("first", "second"):
        for name in names:
            before = store.read("documents", name, ["doc_id", "content_sha256"])
            store.delete_and_insert("documents", name, make_documents(name, a=f"{version} {name}"), before)
    assert store.collections("documents") == sorted(names)
    for name in names:
        assert store.read("documents", name, ["collection", "text"]).rows() == [(name, f"second {name}")]
        assert store.count("documents", name) == 1


def test_name_not_in_utf8_is_a_printable_issue(tmp_path):
    write(tmp_path, "a/good.md")
    try:
        Path(os.fsdecode(bytes(tmp_path / "a") + b"/caf\xe9.md")).write_text("x")
    except OSError:
        pytest.skip("this file system keeps names in UTF-8")
    issue = only_issue(discover_collections(tmp_path)[0])
    assert (issue.path, issue.kind) == (r"caf\xe9.md", "unreadable")
    issue.message.encode("utf-8")


def test_name_too_long_for_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / ("\u732b" * 40)).mkdir()
    with pytest.raises(CorpusError, match="shorter name"):
        discover_collections(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("~$policy.docx", "~$licy.docx", "~WRL0001.tmp", "~x.tmp", "report.docx.TMP", "plan.pdf.crdownload"),
        *("plan.pdf.part", "notes.md.bak", "notes.md~", "#notes.md#", "notes.md.swp", "Thumbs.db", "DESKTOP.INI"),
        *(".~lock.plan.odt#", "._plan.docx", ".DS_Store", "Icon\r"),
    ],
)
def test_what_programs_leave_behind_is_passed_over(tmp_path, name):
    write(tmp_path, "a/plan.md", f"a/{name}", f"a/deep/{name}")
    listing = list_sources(discover_collections(tmp_path)[0])
    assert [source.doc_id for source in listing.sources] == ["plan.md"]
    assert (listing.issues, listing.ignored) == ([], {})


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information"])
def test_folders_of_the_system_are_passed_over(tmp_path, name):
    write(tmp_path, "a/plan.md", f"a/{name}/plan.md", f"{name}/plan.md")
    assert [collection.name for collection in discover_collections(tmp_path)] == ["a"]
    assert ids(discover_collections(tmp_path)[0]) == ["plan.md"]


def test_documents_with_odd_names_are_kept(tmp_path):
    names = ["part/a.md", "x.part/b.md", "backup.bak/c.md", "tmp/d.md", "~notes.md", "~x/e.md", "#1.md", "#x/f.md"]
    names += ["thumbs.md", "desktop.ini.md", "@team/g.md", "$5.md", "a.tmp.md", "node_modules/h.md", "~.md"]
    write(tmp_path, *(f"kb/{name}" for name in names))
    assert ids(discover_collections(tmp_path)[0]) == sorted(names)


def test_a_name_that_cannot_be_looked_at_is_not_passed_over(tmp_path):
    write(tmp_path, "a/plan.md")
    (tmp_path / "a/x.part").symlink_to(tmp_path / "a/x.part")
    assert [issue.path for issue in list_sources(discover_collections(tmp_path)[0]).issues] == ["x.part"]


def test_files_about_a_collection_are_no_documents(tmp_path):
    write(tmp_path, "a/x.md", "a/metadata.jsonl", "a/collection.toml", "a/qrels/test.tsv", "a/qrels/notes.md")
    listing = list_sources(discover_collections(tmp_path)[0])
    assert [source.doc_id for source in listing.sources] == ["qrels/notes.md", "x.md"]
    assert listing.ignored == {}
    assert listing.about == ["collection.toml", "metadata.jsonl", "qrels/test.tsv"]


def test_unknown_formats_are_counted_by_suffix(tmp_path):
    write(tmp_path, "a/x.md", "a/cad/1.dwg", "a/cad/old/2.DWG", "a/cad/LICENSE", "a/1.mp4", "a/cad/2.mp4")
    issues = list(list_sources(discover_collections(tmp_path)[0]).unknown_formats())
    assert [(issue["path"], issue["part"], issue["count"]) for issue in issues] == [
        ("cad", "", 1),
        ("cad", ".dwg", 2),
        (".", ".mp4", 2),
    ]


def test_suffixes_without_end_stay_bounded(tmp_path):
    write(tmp_path, "a/x.md", *(f"a/f.{number:04}" for number in range(80)))
    issues = list(list_sources(discover_collections(tmp_path)[0]).unknown_formats())
    assert (len(issues), issues[-1]["count"]) == (51, 30)
