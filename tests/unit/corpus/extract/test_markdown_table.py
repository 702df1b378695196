"""Rows of cells as Markdown tables."""

import pytest

from embedder_assets.corpus.extract.markdown_table import markdown_table


@pytest.mark.parametrize(
    ("rows", "markdown"),
    [
        ([["k", "l"], ["1", "2"]], "| k | l |\n| --- | --- |\n| 1 | 2 |\n"),
        ([["k"], ["1", "2"]], "| k |  |\n| --- | --- |\n| 1 | 2 |\n"),
        ([["a|b"], ["one\n two"]], "| a\\|b |\n| --- |\n| one two |\n"),
        ([["k"]], "| k |\n| --- |\n"),
        ([[], []], ""),
        ([], ""),
    ],
)
def test_rows_become_a_table(rows, markdown):
    assert markdown_table(rows) == markdown
