"""``embedder search`` with a filter and permissions: what it takes, and what it prints."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from embedder_assets.cli.main import main
from tests.support.filtered_search import Library, Page

PAGES = [
    Page("pump.md", ["red apple"], {"product": "pump", "year": 2021, "keywords": ["new", "hot"], "acl": ["group:hr"]}),
    Page("valve.md", ["red apple pie"], {"product": "valve", "year": 2020, "note": "x" * 100}, public=True),
    Page("plain.md", ["red sky"], None),
]


@pytest.fixture
def search(tmp_path, monkeypatch):
    library = Library(tmp_path, PAGES)

    class Pipeline:
        def __init__(self, settings) -> None:
            self.store, self.triton, self.settings = library.store, library.triton, library.settings

        def close(self) -> None:
            pass

    monkeypatch.setattr("embedder_assets.run_context.Pipeline", Pipeline)
    monkeypatch.setattr("embedder_assets.serving.models.configured.require_models", lambda settings: None)

    def run(*arguments: str):
        return CliRunner().invoke(main, ["search", "red apple", *arguments], env={"EMBEDDER_HOME": str(tmp_path)})

    return run


def found(result) -> set[str]:
    assert result.exit_code == 0, result.output
    return {hit["doc_id"] for hit in json.loads(result.stdout)}


def test_filter_and_permissions_select_hits(search):
    assert found(search("--json")) == {"pump.md", "valve.md", "plain.md"}
    assert found(search("--json", "--where", "year >= 2020 and not product = 'valve'")) == {"pump.md"}
    assert found(search("--json", "--allow", "group:finance")) == {"valve.md"}
    assert found(search("--json", "--allow", "x", "--allow", "group:hr", "--where", "year > 2020")) == {"pump.md"}


def test_json_has_the_metadata(search):
    hits = {hit["doc_id"]: hit["metadata"] for hit in json.loads(search("--json").stdout)}
    assert hits == {page.doc_id: page.metadata or {} for page in PAGES}


def test_people_see_the_fields_with_a_filter(search):
    result = search("--where", "product is not null")
    assert 'product: pump, year: 2021, keywords: ["new", "hot"]' in result.stdout
    assert f"note: {'x' * 60}…" in result.stdout
    assert "product: pump" not in search().stdout


def test_error_shows_the_filter_with_a_caret(search):
    result = search("--where", "yaer >= 2020 and product = 'pump'")
    assert result.exit_code == 1
    *_, shown, caret = result.stderr.rstrip("\n").split("\n")
    assert (shown, caret) == ("  yaer >= 2020 and product = 'pump'", "  ^")
    assert "Did you mean 'year'?" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("where", ["", "  ", "product"])
def test_filter_without_a_condition_is_refused(search, where):
    result = search("--where", where)
    assert result.exit_code == 1
    assert "the filter: expected" in result.stderr


def test_empty_group_is_refused(search):
    result = search("--allow", "group:hr", "--allow", "")
    assert result.exit_code == 2
    assert "a group is empty" in result.stderr


def test_reader_who_sees_nothing_finds_nothing(search):
    assert found(search("--json", "--allow", "none", "--where", "doc_id = 'pump.md'")) == set()
    assert search("--allow", "none", "--where", "doc_id = 'pump.md'").stdout == "nothing found\n"
