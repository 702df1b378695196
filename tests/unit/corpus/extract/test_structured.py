"""Delimited tables, notebooks and source code become text that says what they say."""

from __future__ import annotations

import json

import pytest

from tests.support.corpora.extraction import document, issue

TABLE = "| part | price |\n| --- | --- |\n| Pump | 1,50 |\n| Valve | 2,75 |\n"
SAME_TABLE = {
    "semicolons": "part;price\nPump;1,50\nValve;2,75\n",
    "tabs": "part\tprice\nPump\t1,50\nValve\t2,75",
    "bars": "part|price\nPump|1,50\nValve|2,75\n",
    "commas and quotes": 'part,price\nPump,"1,50"\nValve,"2,75"\n',
    "backslashes": 'part, price\n"Pump", "1,50"\nValve, "2,75"\n',
    "line ends of old": "part;price\rPump;1,50\rValve;2,75\r",
    "a hint for Excel": "sep=;\r\npart;price\r\nPump;1,50\r\nValve;2,75\r\n",
    "empty rows": "part;price\n\nPump;1,50\n;\nValve;2,75\n\n",
    "delimiters at line ends": "part;price\nPump;1,50;\nValve;2,75;\n",
}


@pytest.mark.parametrize("content", SAME_TABLE.values(), ids=SAME_TABLE.keys())
def test_delimiter_is_found(collection, content):
    assert document(collection, "a.csv", content).text == TABLE


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marked_encodings_are_understood(collection, encoding):
    found = document(collection, "Stück.tsv", "größe\tx\n1\t2\n".encode(encoding))
    assert found.text.startswith("| größe | x |")
    assert (found.title, found.media_type) == ("Stück", "text/tab-separated-values")


def test_latin1_table_is_an_issue(collection):
    assert issue(collection, "a.csv", "größe;x\n1;2\n".encode("latin-1")).kind == "not_utf8"


def test_line_breaks_and_bars_stay_in_cells(collection):
    found = document(collection, "a.csv", 'id,note\n1,"two\nlines | one ""cell"""\n')
    assert found.text.splitlines()[2] == '| 1 | two lines \\| one "cell" |'


PREAMBLES = {
    "title": "Sales 2024\nregion,q1,q2\nnorth,1,2\nsouth,3,4\n",
    "padded": "Sales 2024,,\n,,\nregion,q1,q2\nnorth,1,2\nsouth,3,4\n",
}


@pytest.mark.parametrize("content", PREAMBLES.values(), ids=PREAMBLES.keys())
def test_lines_above_the_header_become_paragraphs(collection, content):
    text = document(collection, "a.csv", content).text
    assert text.startswith("Sales 2024\n\n| region | q1 | q2 |\n| --- |")


def test_tables_of_other_widths_stay_apart(collection):
    text = document(collection, "a.csv", "a,b\n1,2\n\nx,y,z\n3,4,5\n").text
    assert text == "| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| x | y | z |\n| --- | --- | --- |\n| 3 | 4 | 5 |\n"


def test_ragged_rows_lose_no_cell(collection):
    lines = document(collection, "a.csv", "id,note\n1,so, and, so\n2\n3,x\n4,y\n").text.splitlines()
    assert lines[2:] == ["| 1 | so, and, so |", "| 2 |  |", "| 3 | x |", "| 4 | y |"]


def test_header_without_row_names_is_shifted(collection):
    lines = document(collection, "a.csv", "mpg,cyl\nMazda,21,6\nFiat,32,4\n").text.splitlines()
    assert lines[0] == "|  | mpg | cyl |"


def test_open_quotation_mark_swallows_no_row(collection):
    text = document(collection, "a.csv", 'part,size\nA,"5 inch\nB,6\nC,7\n').text
    assert text.splitlines()[2:] == ['| A | "5 inch |', "| B | 6 |", "| C | 7 |"]


def test_marks_for_inches_swallow_no_row(collection):
    text = document(collection, "a.tsv", 'part\tsize\nA\t"5\nB\t6\nC\t"7\nD\t8\n').text
    assert text.splitlines()[2:] == ['| A | "5 |', "| B | 6 |", '| C | "7 |', "| D | 8 |"]


def test_single_column_is_a_table(collection):
    assert document(collection, "a.csv", 'name\nAda\n"Bob\nB."\n').text == "| name |\n| --- |\n| Ada |\n| Bob B. |\n"


def test_too_many_columns_are_refused(collection):
    found = issue(collection, "a.csv", "x," * 1_000_000 + "\n1,2\n", max_document_mb=5)
    assert (found.kind, "16,384 columns" in found.message) == ("too_complex", True)


def test_short_rows_of_a_wide_table_are_no_bomb(collection):
    assert issue(collection, "a.csv", f"{'x,' * 9000}x\n" * 2 + "y\n" * 500_000, max_document_mb=5).kind == "too_long"


def notebook(*cells: object, **metadata: object) -> str:
    about = {"language_info": {"name": "julia"}, "kernelspec": {"display_name": "Julia 1.9"}, **metadata}
    return json.dumps({"nbformat": 4, "metadata": about, "cells": cells})


def code(source: object, *outputs: object) -> dict[str, object]:
    return {"cell_type": "code", "source": source, "outputs": outputs}


def test_notebook_is_markdown_with_fenced_code(collection):
    cells = [{"cell_type": "markdown", "source": ["Intro\n", "## Flow of the pump"]}, code(["# no heading\n", "x = 1"])]
    found = document(collection, "a.ipynb", notebook(*cells))
    assert found.text == "Intro\n## Flow of the pump\n\n```julia\n# no heading\nx = 1\n```\n"
    assert found.title == "Flow of the pump"
    assert json.loads(found.source_metadata) == {"programming_language": "julia", "kernel": "Julia 1.9"}


def test_outputs_are_kept_as_text(collection):
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
        {"output_type": "execute_result", "data": {"text/html": "<table>", "text/plain": "   a\n0  7"}},
        {"output_type": "display_data", "data": {"text/markdown": "**bold**", "text/plain": "other"}},
        {"output_type": "error", "ename": "KeyError", "evalue": "\x1b[31m'flow'\x1b[0m", "traceback": ["..."]},
    ]
    text = document(collection, "a.ipynb", notebook(code("f()", *outputs))).text
    assert "```text\none\ntwo\n```" in text
    assert "   a\n0  7" in text
    assert "**bold**" in text and "other" not in text
    assert "KeyError: 'flow'" in text


def test_pictures_and_long_outputs_are_named(collection):
    picture = {
        "output_type": "display_data",
        "data": {"image/png": "iVBO", "text/plain": ["<Figure size 6x4 with 1 Axes>"]},
    }
    log = {"output_type": "stream", "text": "line\n" * 9999}
    attached = {"cell_type": "markdown", "source": "See ![it](attachment:it.png) and ![x](data:image/png;base64,AAAA)."}
    found = document(collection, "a.ipynb", notebook(attached, code("plot()", picture, log)))
    assert {each["part"]: each["count"] for each in found.omissions} == {"embedded image": 3, "rest of an output": 1}
    assert len(found.text) < 3000
    assert "Figure" not in found.text and "base64" not in found.text


def test_html_is_shown_where_text_names_an_object(collection):
    page = {"text/html": "<p>Some <b>words</b>", "text/plain": "<IPython.core.display.HTML object>"}
    outputs = [{"output_type": "display_data", "data": each} for each in (page, {"application/json": {"a": 1}})]
    found = document(collection, "a.ipynb", notebook(code("show()", *outputs)))
    assert ("Some **words**" in found.text, "IPython" in found.text) == (True, False)
    assert [(each["part"], each["count"]) for each in found.omissions] == [("output", 1)]


def test_fences_in_code_do_not_end_it(collection):
    text = document(collection, "a.ipynb", notebook(code("s = '''\n```\n# x\n```\n'''"))).text
    assert text.startswith("````julia\n") and text.endswith("\n````\n")


def test_old_notebooks_have_worksheets(collection):
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Title"},
        {"cell_type": "code", "input": "x", "outputs": []},
    ]
    found = document(collection, "a.ipynb", json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}))
    assert (found.title, "```\nx\n```" in found.text) == ("Title", True)


@pytest.mark.parametrize(
    "content", ["{", "[1]", "{}", '{"cells": 3}', "[" * 100_000, '{"cells": [' + "1" * 10_000 + "]}"]
)
def test_broken_notebook_is_an_issue(collection, content):
    found = issue(collection, "a.ipynb", content)
    assert (found.kind, "Jupyter" in found.message) == ("unreadable_notebook", True)


def test_source_code_is_plain_text(collection):
    found = document(collection, "pump.PY", "# not a heading\n\nx = 1\n")
    assert (found.text, found.title, found.media_type) == ("# not a heading\n\nx = 1\n", "pump", "text/plain")
    assert json.loads(found.source_metadata) == {"programming_language": "python"}


def test_code_may_declare_its_encoding(collection):
    found = document(collection, "a.py", "# -*- coding: latin-1 -*-\nx = 'Größe'\n".encode("latin-1"))
    assert "x = 'Größe'" in found.text


def test_code_without_its_encoding_is_an_issue(collection):
    assert issue(collection, "a.py", "x = 'Größe'\n".encode("latin-1")).kind == "not_utf8"


def test_minified_lines_are_left_out(collection):
    found = document(collection, "a.js", "// written\n" + "x=1;" * 2000 + "\nf();\n")
    assert found.text == "// written\nf();\n"
    assert [(each["part"], each["count"]) for each in found.omissions] == [("long line", 1)]


def test_code_of_machines_alone_is_an_issue(collection):
    found = issue(collection, "a.js", "x=1;" * 2000)
    assert (found.kind, "5,000 characters" in found.message) == ("empty", True)
