"""Documents in HTML."""

from tests.support.corpora.extraction import document, issue


def test_html_becomes_markdown_without_what_surrounds_it(collection, capfd):
    page = """<?xml version="1.0"?><html><head><title>Site</title><style>p{}</style></head><body>
    <nav>Menu</nav><main><h1>Title<a class="headerlink" href="#t">¶</a></h1><p>Some <b>bold</b> snake_case text</p>
    <h2>Part</h2><ul><li>one</li></ul><img src="data:image/png;base64,AAAA" alt="a chart">
    <table><tr><th>k</th></tr><tr><td>v</td></tr></table><script>track()</script></main><footer>Imprint</footer>
    </body></html>"""
    found = document(collection, "a.html", page)
    assert found.title == "Title"
    assert found.text.startswith("# Title\n\nSome **bold** snake_case text\n\n## Part\n\n- one")
    assert "a chart" in found.text
    assert "| v |" in found.text
    for unwanted in ("Menu", "track", "Imprint", "base64", "p{}", "¶", "Site"):
        assert unwanted not in found.text
    assert capfd.readouterr() == ("", "")


def test_html_without_heading_uses_its_title(collection):
    assert document(collection, "a.htm", "<title> The\n page </title><p>x").title == "The page"


def test_html_is_read_in_its_declared_encoding(collection):
    page = "<meta charset=windows-1252><p>Grüße"
    assert "Grüße" in document(collection, "a.html", page.encode("windows-1252")).text


def test_html_in_no_known_encoding_is_an_issue(collection):
    assert issue(collection, "a.html", b"<meta charset=ascii><p>\xff").kind == "not_utf8"
    assert issue(collection, "a.html", b"<meta charset=klingon><p>\xff").kind == "not_utf8"


def test_deeply_nested_html_is_an_issue(collection):
    assert document(collection, "deep.html", "<div>" * 490 + "x").text == "x\n"
    found = issue(collection, "deep.html", "<div>" * 501 + "x")
    assert found.kind == "too_deep"
    assert "at most 500 levels of nesting" in found.message


def test_html_of_nothing_but_navigation_is_empty(collection):
    assert issue(collection, "a.html", "<nav>Menu</nav><script>x</script>").kind == "empty"
