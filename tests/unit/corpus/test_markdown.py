"""The words of headings."""

import time

import pytest

from embedder_assets.corpus.markdown import headings, sections
from embedder_assets.corpus.queries import synthetic_queries


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Oil change {#oil}", "Oil change"),
        ("Oil change {: .no_toc #oil}", "Oil change"),
        ("Oil change\n{: .big}", "Oil change"),
        ("Oil change {#oil} ##", "Oil change"),
        ("Oil change \\{#oil}", "Oil change"),
        ("Oil change {/* #oil */}", "Oil change"),
        ("Oil change {-}", "Oil change"),
        ("[Oil](x){target=_blank} change", "Oil change"),
        ('<a name="oil"></a>Oil change', "Oil change"),
        ("Oil change <!-- omit in toc -->", "Oil change"),
        ("Press <kbd>Ctrl</kbd>+<kbd>C</kbd>", "Press Ctrl+C"),
        ("H<sub>2</sub>O &amp; CO<br>2", "H2O & CO 2"),
        ("Oil change[^1]", "Oil change"),
        ("Oil^[a note] change", "Oil change"),
        ('{{% heading "next" %}} Oil', "Oil"),
        ("Oil {{< param v >}} change {% if x %}", "Oil change"),
        ("[[Pumps#Oil|Oil]] change, [[Filters]]", "Oil change, Filters"),
        ("==Oil== ~~filter~~ change, a == b", "Oil filter change, a == b"),
        ("{doc}`Oil` *change*", "Oil change"),
        ("Oil change [![build](b.svg)](https://ci)", "Oil change"),
        ("![Oil change](logo.png)", "Oil change"),
        ('<img src="l.png" alt="Oil change">', "Oil change"),
        ("[Unreleased]", "Unreleased"),
        ("[Oil][old] change", "Oil change"),
        ("`{#id}` and `{{< ref >}}`", "{#id} and {{< ref >}}"),
        ("Set <name> in Vec<T>", "Set <name> in Vec<T>"),
        ("Format {} and {name} :rocket:", "Format {} and {name} :rocket:"),
        ("[1.2.0] - 2020", "[1.2.0] - 2020"),
    ],
)
def test_a_heading_is_its_words(written, words):
    text = f"## {written}\n\nText.\n\n[Unreleased]: https://x\n[old]: https://y\n"
    if "\n" in written:
        text = f"{written}\n---\n\nText.\n"
    (found,) = headings(text)
    assert found.title == words


def test_marks_are_in_no_path_and_no_query():
    text = "# Pump care {#care}\n\n## Oil change[^1]\n\nText.\n"
    path = sections(text)[-1].path
    assert path == ("Pump care", "Oil change")
    assert [query.text for query in synthetic_queries("kb", [("a.md", " > ".join(path))])] == ["Oil change"]


def test_headings_in_html_count():
    text = 'Words.\n\n<div align="center">\n<h1>Pump <b>care</b></h1>\n</div>\n\n<h2 id="x"><img alt="Oil"></h2>\n'
    found = headings(text)
    assert [(heading.level, heading.title) for heading in found] == [(1, "Pump care"), (2, "Oil")]
    assert [text[heading.start :][:3] for heading in found] == ["<h1", "<h2"]


@pytest.mark.parametrize(
    "text", ["<div>\n" + "<h1>" * 300_000, "<div>\n" + "<h1 " * 300_000, "# " + "{{ [[ ==" * 100_000]
)
def test_hostile_headings_take_little_time(text):
    started = time.perf_counter()
    headings(text)
    assert time.perf_counter() - started < 5
