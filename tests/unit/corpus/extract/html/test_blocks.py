"""Blocks of a page: headings, lists, definitions, code, quotes, what opens and closes."""

import pytest

from embedder_assets.corpus.markdown import headings
from tests.support.corpora.web import text


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<h2><a href='#x'>#</a> The <code>x</code> <b>option</b></h2>", "## The x option"),
        ("<div role=heading aria-level=3>Part</div>", "### Part"),
        ("<h2></h2><p>x", "x"),
        ("<h3>Two<br>lines</h3>", "### Two lines"),
        ("<ul><li>a<ul><li>b</ul><li><p>c<p>d</ul>", "- a\n  - b\n- c\n\n  d"),
        ("<ol start=9><li>a<li>b<pre>x</pre></ol>", "9. a\n10. b\n\n    ```\n    x\n    ```"),
        ("<ol reversed><li>a<li>b</ol>", "2. a\n1. b"),
        ("<ol><li value=4>a<li>b</ol>", "4. a\n5. b"),
        ("<ol type=a><li>first<li>second</ol>", "- a. first\n- b. second"),
        ("<ol type=I start=4><li>x</ol>", "- IV. x"),
        ("<ul>a <a href=x>b</a><ul><li>c</ul><li>d</ul>", "- a [b](x)\n  - c\n- d"),
        ("<ul><li><h3>Card</h3><p>Words</ul>", "### Card\n\nWords"),
        ("<ul><li><input type=checkbox checked> done<li><input type=checkbox> open</ul>", "- [x] done\n- [ ] open"),
        ("<dl><dt>Pressure<dd>5 bar<dt>Flow:<dd>2 l</dl>", "Pressure: 5 bar\n\nFlow: 2 l"),
        ("<dl><dt>Why?<dd>So.</dl>", "Why? So."),
        ("<dl><div><dt>a<dt>b<dd><p>c<p>d</div></dl>", "a, b:\n\nc\n\nd"),
        ("<pre>a\n  <b>b</b><br>c &lt;d&gt;\n</pre>", "```\na\n  b\nc <d>\n```"),
        ('<pre><code class="language-c++">x;</code></pre>', "```c++\nx;\n```"),
        ('<div class="highlight-sh"><pre>ls</pre></div>', "```sh\nls\n```"),
        ("<pre>```\nx\n```</pre>", "````\n```\nx\n```\n````"),
        ("<pre><span class=lineno>1</span>x</pre>", "```\nx\n```"),
        ("<blockquote><p>a<blockquote>b</blockquote></blockquote>", "> a\n>\n> > b"),
        ("<blockquote>a<footer>by B</footer></blockquote>", "> a\n>\n> by B"),
        ("<p>a<hr><p>b", "a\n\nb"),
        ("<del><p>old</p></del><ins><p>new</p></ins>", "~~old~~\n\nnew"),
        ("<details><summary><h3>Why?</h3></summary>So.</details>x", "### Why?\n\nSo.\n\nx"),
        ("a<br> <br># b<br>c", "a\n\n\\# b\nc"),
        ("<p><span style='display: none'>0012</span>12", "12"),
        ("a <div>b</div> c", "a\n\nb\n\nc"),
        ("<a href=x><div>a</div><div>b</div></a>", "a\n\nb"),
        ("<figure><img src=x alt='A pump'><figcaption>Fig. 1</figcaption></figure>", "A pump\n\nFig. 1"),
        ("<noscript><p>Without scripts: call us.</noscript>", "Without scripts: call us."),
        ("<div hidden><p>Second tab</div>", "Second tab"),
        ("<div class=panel aria-hidden=true><p>Closed panel</div>", "Closed panel"),
    ],
)
def test_blocks_become_markdown(html, markdown):
    assert text(html) == markdown


@pytest.mark.parametrize(
    "question",
    [
        "<h3><button>{}</button></h3>",
        "<h3><button class='accordion-button collapsed' aria-expanded=false>{}</button></h3>",
        "<h3><a role=button data-toggle=collapse href='#a'>{}</a></h3>",
        "<h3><span aria-hidden=true>+</span>{}</h3>",
    ],
)
def test_question_of_an_accordion_is_a_heading(question):
    first, second = question.format("Can I move it?"), question.format("How long is it kept?")
    found = text(f"<h2>FAQ</h2>{first}<div class=collapse><p>Yes.</div>{second}<div><p>A year.</div>")
    assert found == "## FAQ\n\n### Can I move it?\n\nYes.\n\n### How long is it kept?\n\nA year."


def test_summary_is_the_heading_of_its_details():
    two = "<details><summary>Why?</summary><p>So.</details><details><summary>How?</summary>Thus.</details>"
    assert text(f"<h2>FAQ</h2>{two}<h2>More</h2>") == ("## FAQ\n\n### Why?\n\nSo.\n\n### How?\n\nThus.\n\n## More")


def test_text_after_details_does_not_stand_under_summary():
    found = text("<h2>FAQ</h2><details><summary># Why?</summary><p>So.</details><p>Call us.")
    assert [heading.title for heading in headings(found)] == ["FAQ"]
    assert "**# Why?**\n\nSo.\n\nCall us." in found


def test_button_that_opens_a_panel_is_text():
    found = text(
        "<button class=accordion>Delivery</button><div>Two days.</div><button>Copy</button><button>Send</button>"
    )
    assert found == "Delivery\n\nTwo days."
