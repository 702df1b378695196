"""``embedder tables fields``: the fields of the documents' metadata."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from embedder_assets.cli.main import main
from tests.support.corpora.folder import folder, read, row, store

__all__ = ["folder", "read", "store"]


@pytest.fixture
def run(read, folder, tmp_path):
    def run(*arguments):
        (folder / "corpus.jsonl").write_text(row("1", metadata={"year": 1, "[bold]": "x"}))
        read()
        return CliRunner().invoke(main, ["tables", "fields", *arguments], env={"EMBEDDER_HOME": str(tmp_path / "home")})

    return run


def test_fields_are_shown(run):
    result = run()
    assert result.exit_code == 0, result.output
    assert "year" in result.output
    assert "number" in result.output
    assert "[bold]" in result.output
    assert run("kb").stdout == result.stdout


def test_an_unknown_collection_is_refused(run):
    result = run("kv")
    assert result.exit_code != 0
    assert "one of: kb" in f"{result.output}{result.exception}"
