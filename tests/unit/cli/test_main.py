"""What ``embedder search`` takes as a query: refused ones end with one sentence, before anything is opened."""

import pytest
from click.testing import CliRunner

from embedder_assets.cli.main import main


def search(query: str):
    return CliRunner().invoke(main.commands["search"], [query])


@pytest.mark.parametrize("query", ["", " ", "\t\n", "?!", "_-_", "…", "。、"])
def test_a_query_without_a_word_is_refused(query):
    result = search(query)
    assert result.exit_code == 2
    assert "Invalid value for 'QUERY': it has neither a letter nor a digit" in result.output


@pytest.mark.parametrize("query", ["\udcff\udcfe", "caf\udce9"])
def test_a_query_that_is_not_utf8_is_refused(query):
    result = search(query)
    assert result.exit_code == 2
    assert "Invalid value for 'QUERY': it is not valid UTF-8" in result.output


@pytest.mark.parametrize("query", ["C++", "日本語", "42", "what is it?"])
def test_query_with_letter_or_digit_is_accepted(query, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path))
    result = search(query)
    assert "Run `embedder run` first" in str(result.exception)


NAMES = ["docs", "docs", "other", "docs"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("run", [argument for name in NAMES for argument in ("--collection", name)]),
        ("search", ["query", *(argument for name in NAMES for argument in ("--collection", name))]),
        ("weights show", [argument for name in NAMES for argument in ("--collection", name)]),
        ("baseline accept", [argument for name in NAMES for argument in ("--collection", name)]),
        ("models build", NAMES),
        ("models verify", NAMES),
        ("models tune", NAMES),
        ("tables history", NAMES),
        ("summary validate", NAMES),
    ],
)
def test_duplicate_collection_names_count_once(command, arguments):
    found = main
    for word in command.split():
        found = found.commands[word]
    values = found.make_context(command, list(arguments)).params
    assert values.get("names", values.get("wanted")) == ("docs", "other")
