"""``collection.toml``: what it may say, and what holds while it is wrong."""

import pytest

from embedder_assets.corpus.collection_options import CollectionOptions, JsonFields, read_options
from embedder_assets.corpus.collections import Collection
from tests.support.permissions import permissions_count


@pytest.fixture
def collection(tmp_path):
    return Collection("kb", tmp_path, recursive=False)


def test_without_a_file_nothing_is_public(collection):
    assert read_options(collection) == (CollectionOptions(), [])
    assert not CollectionOptions().public


def test_options_are_read(collection):
    text = '﻿public = true\nauthor = true\n[json]\ntext = ["body", "a.b"]\ntitle = "name"\nid = "key"\n'
    (collection.root / "collection.toml").write_text(text)
    options = CollectionOptions(public=True, author=True, json=JsonFields(("body", "a.b"), "name", "key"))
    assert read_options(collection) == (options, [])


def test_an_empty_file_says_nothing(collection):
    (collection.root / "collection.toml").write_text("# to be filled\n")
    assert read_options(collection) == (CollectionOptions(), [])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("public = true\npublik = false\n", 2, "'public'"),
        ("\npublic = yes\n", 2, "TOML"),
        ('author = true\npublic = "true"\n', 2, "public = 'true'"),
        ("public = true\nauthor = 1\n", 2, "author = 1"),
        ('public = true\njson = "body"\n', 2, "a table [json]"),
        ('public = true\n\n[json]\nid = "a"\ntexts = "b"\n', 5, "'text'"),
        ("id = 1\n[json]\n", 1, "'id'"),
        ("public = true\n[json]\ntext = [1]\n", 3, "text = [1]"),
        ('public = true\n[json]\ntext = [""]\n', 3, "text = ['']"),
        ("public = true\n[json]\ntitle = 5\n", 3, "title = 5"),
        ("public = true\n[web]\nhost = 1\n", 2, "'web'"),
        ("public = true\nvalid = true\n", 2, "'valid'"),
        ("public = true\njson.tekst = 'a'\n", 2, "'tekst'"),
        ("public = true\npublic = true\n", 2, "TOML"),
        ("public = true\n[json", 2, "TOML"),
        ("public = true\nauthor = " + "[" * 5000, 2, "TOML"),
    ],
)
def test_what_is_wrong_names_line_and_key_and_closes(collection, text, line, said):
    (collection.root / "collection.toml").write_text(text)
    options, [issue] = read_options(collection)
    assert (options.public, options.valid) == (False, False)
    assert (issue.path, issue.kind) == (f"collection.toml:{line}", "bad_options")
    assert said in issue.message
    assert "no document of the collection is public" in issue.message


def test_a_file_that_cannot_be_read_closes(collection):
    path = collection.root / "collection.toml"
    path.write_text("public = true\n")
    path.chmod(0)
    with permissions_count():
        options, [issue] = read_options(collection)
    assert not options.public
    assert (issue.path, issue.kind) == ("collection.toml", "unreadable")


def test_a_file_that_is_not_utf8_closes(collection):
    (collection.root / "collection.toml").write_bytes(b"public = true # \xe9\n")
    options, [issue] = read_options(collection)
    assert not options.public
    assert "UTF-8" in issue.message
