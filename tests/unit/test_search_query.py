"""What ``embedder search`` takes as a query: refused ones end with one sentence, before anything is opened."""

import pytest
from click.testing import CliRunner

from embedder_assets.cli import main


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
def test_a_query_with_a_letter_or_a_digit_gets_as_far_as_the_tables(query, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBEDDER_HOME", str(tmp_path))
    result = search(query)
    assert "Run `embedder run` first" in str(result.exception)
