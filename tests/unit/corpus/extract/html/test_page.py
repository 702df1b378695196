"""Whole pages: their content, their title, and pages that have none."""

import pytest

from embedder_assets.corpus.extract.html import convert_html, markdown_of_html
from embedder_assets.errors import DocumentError
from tests.support.corpora.extraction import document, issue
from tests.support.corpora.web import LIMITS, page

LONG = "Operators read how the service behaves when a node is drained and which counters move then. " * 5


def test_html_becomes_markdown_without_what_surrounds_it(collection, capfd):
    page = """<?xml version="1.0"?><html><head><title>Site</title><style>p{}</style></head><body>
    <nav>Menu</nav><main><h1>Title<a class="headerlink" href="#t">¶</a></h1><p>Some <b>bold</b> snake_case text</p>
    <h2>Part</h2><ul><li>one</ul><img src="data:image/png;base64,AAAA" alt="a chart">
    <table><tr><th>k</th></tr><tr><td>v</td></tr></table><script>track()</script></main><footer>Imprint</footer>
    </body></html>"""
    found = document(collection, "a.html", page)
    assert found.title == "Title"
    assert found.text == (
        "# Title\n\nSome **bold** snake_case text\n\n## Part\n\n- one\n\na chart\n\n| k |\n| --- |\n| v |\n"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "html",
    [
        "<html><head><title>Valves</title><body><h1>Valves</h1><p>Close them.</p></body></html>",
        "<title>Valves</title><meta charset=utf-8><h1>Valves</h1><p>Close them.",
        "<html><head><title>Valves</title><h1>Valves</h1><div><p>Close them.</div>",
        "<head><title>Valves</title><link rel=x href=y></head><h1>Valves<p>Close them.</h1>",
    ],
)
def test_omitted_end_tags_lose_nothing(html):
    assert page(html).title.startswith("Valves")
    assert "Close them." in page(html).text


def test_omitted_end_tags_end_items_and_cells():
    found = page(
        "<ul><li>a<li>b</ul><dl><dt>t<dd>d<dt>u<dd>e</dl><table><tr><th>k<th>l<tr><td>1<td>2</table><p>x<p>y"
    ).text
    assert found == "- a\n- b\n\nt: d\n\nu: e\n\n| k | l |\n| --- | --- |\n| 1 | 2 |\n\nx\n\ny\n"


def test_heading_in_front_of_main_is_title_and_text():
    found = page(
        f"<title>Log retention | Acme</title><header><a href=/>Acme</a><h1>Log retention</h1><p>Version 7</p></header>"
        f"<nav><h2>Menu</h2></nav><main><p>{LONG}</p></main><footer><h2>Contact</h2></footer>"
    )
    assert found.title == "Log retention"
    assert "# Log retention\n\nVersion 7\n\nOperators" in found.text
    assert "Menu" not in found.text
    assert "Contact" not in found.text


def test_heading_of_navigation_is_no_title():
    assert (
        page("<title>Rotating keys</title><nav><h1>Acme</h1><a href=a>Acme</a></nav><p>Keys rotate.").title
        == "Rotating keys"
    )


def test_heading_of_lower_rank_is_no_title():
    assert page("<title>Rotating keys</title><h2>Steps</h2><p>Rotate.").title == "Rotating keys"


def test_name_of_the_site_is_no_title():
    site = '<meta property="og:site_name" content="Acme Docs">'
    assert page(f"<title>Keys - Acme Docs</title>{site}<h1>Acme Docs</h1><p>x").title == "Keys"
    assert page('<title>Keys</title><h1><a href="/">Acme</a></h1><main><p>x</main>').title == "Keys"
    assert page('<title>Keys: a | Acme</title><meta property="og:title" content="Keys: a"><p>x').title == "Keys: a"
    assert page("<title>A - B</title><p>x").title == "A - B"


def test_name_of_a_book_above_its_pages_is_no_title():
    found = page(
        "<title>Owning - The Book of Pumps</title><div><h1>The Book of Pumps</h1></div>"
        f"<main><h2>Owning</h2><p>{LONG}</p></main>"
    )
    assert found.title == "Owning"
    assert found.text.startswith("## Owning")


def test_heading_that_stands_alone_before_main_is_text():
    found = page(f"<title>Acme | Pumps</title><div><h1>Pumps</h1></div><main><p>{LONG}</p></main>")
    assert found.title == "Pumps"
    assert found.text.startswith("# Pumps\n\nOperators")


def test_title_of_social_networks_is_the_last_resort():
    assert page('<meta property="og:title" content="Keys"><p>x').title == "Keys"
    assert page("<svg><title>Icon</title></svg><p>x").title == ""


def test_html_without_heading_uses_its_title(collection):
    assert document(collection, "a.htm", "<title> The\n page </title><p>x").title == "The page"


def test_small_main_part_does_not_hide_the_page():
    found = page(f"<main><p>Loading</p></main><div><h1>Title</h1><p>{LONG}</p></div>")
    assert "Operators" in found.text
    assert found.title == "Title"


def test_deeply_nested_html_is_an_issue(collection):
    assert document(collection, "deep.html", "<div>" * 490 + "x").text == "x\n"
    found = issue(collection, "deep.html", "<div>" * 501 + "x")
    assert found.kind == "too_deep"
    assert "at most 500 levels of nesting" in found.message


def test_html_of_nothing_but_navigation_is_empty(collection):
    assert issue(collection, "a.html", "<nav>Menu</nav><style>x</style>").kind == "empty"


def test_page_that_scripts_build_is_named(collection):
    found = issue(
        collection, "a.html", "<div id=root></div><noscript>Enable JavaScript</noscript><script src=a.js></script>"
    )
    assert found.kind == "no_text"
    assert "scripts" in found.message


def test_text_from_other_formats_keeps_its_parts():
    html = '<main><h1>T</h1><aside class="footnote">A note.</aside><footer class="share"><p>Words</p></footer></main>'
    assert markdown_of_html(html, "a", LIMITS) == "# T\n\nA note.\n\nWords\n"
    assert [each.part for each in convert_html("<p>x<img src=a>", "a", LIMITS).omissions] == [
        "image without description"
    ]
    with pytest.raises(DocumentError, match="lone surrogate"):
        markdown_of_html("<p>\ud800", "a", LIMITS)
