"""What flows in a line: marks that change the meaning, links, code, fields of forms, and what is left out."""

import pytest

from tests.support.corpora.web import omitted, text


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("2 · 10<sup>9</sup> bits", "2 · 10^9 bits"),
        ("10<sup>\u22123</sup> bar", "10^\u22123 bar"),
        ("12 m<sup>3</sup>/h", "12 m^3/h"),
        ("x<sup>n+1</sup>", "x^(n+1)"),
        ("x<sup>2</sup>y", "x^(2)y"),
        ("<sup>235</sup>U", "^235U"),
        ("<b>10</b><sup>6</sup>", "**10**^6"),
        ("the 19<sup>th</sup>", "the 19th"),
        ("Acme<sup>TM</sup>", "Acme™"),
        ("Acme<sup>®</sup>", "Acme®"),
        ("Na<sup>+</sup> and SO<sub>4</sub><sup>2-</sup>", "Na^+ and SO4^2-"),
        ("C<sub>6</sub>H<sub>12</sub>O<sub>6</sub>", "C6H12O6"),
        ("1010<sub>2</sub>", "1010_2"),
        ("v<sub>max</sub>", "v_max"),
        ("<sup>87</sup>Sr/<sup>86</sup>Sr", "^87Sr/^86Sr"),
        ("5<sup>1</sup>/<sub>2</sub> inches", "5 1/2 inches"),
        ("word<sup>[7]</sup>", "word[7]"),
        ("word<sup>7</sup>.", "word^7."),
        ('word<sup><a href="#fn7">7</a></sup>', "word[7]"),
        ('word<a href="#fn7"><sup>7</sup></a>', "word[7]"),
        ('word<sup class="reference"><a href="#c">[7]</a></sup>', "word[7]"),
    ],
)
def test_raised_and_lowered_text_is_marked(html, markdown):
    assert text(f"<p>{html}") == markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<ruby>東<rp>(</rp><rt>tō</rt><rp>)</rp></ruby>", "東(tō)"),
        ("<del>5</del> <ins>6</ins> bar", "~~5~~ 6 bar"),
        ("He said <q>no</q>.", "He said “no”."),
        (
            '<abbr title="parts per million">ppm</abbr>, <abbr title="parts per million">ppm</abbr>',
            "ppm (parts per million), ppm",
        ),
        ("one<br>two <br> three", "one\ntwo\nthree"),
        ("extra<wbr>ordinary hyphen&shy;ated", "extraordinary hyphenated"),
        ("<b>a </b>b <strong></strong><b>c</b><b>d</b>", "**a** b **cd**"),
        ("<b><strong>a</strong></b>", "**a**"),
        ("<code>a`b</code>", "``a`b``"),
        ("<code>f(<var>x</var>)</code>", "`f(x)`"),
        ('<a href="https://a.example/b c">the  site</a>', "[the site](https://a.example/b%20c)"),
        ('<a href="#x">here</a> <a href="javascript:x()">there</a>', "here there"),
        ('note <a href="#ref">↩</a>', "note"),
        ('<a href="a">one</a><a href="b">two</a>', "[one](a) [two](b)"),
        ("a&nbsp;&nbsp; b\n\tc", "a b c"),
        ("<svg><text>Inlet</text><text>Outlet</text></svg>", "Inlet Outlet"),
    ],
)
def test_inline_elements_keep_their_meaning(html, markdown):
    assert text(f"<p>{html}") == markdown


def test_values_of_a_form_are_text():
    form = """<form><p><label for=n>Name</label> <input id=n value="Ann Lee"></p>
    <p><label>Unit <select><option>bar<option selected>MPa</select></label></p>
    <p><label>Colour: <select><option>red<option>blue</select></label></p>
    <p><input type=checkbox checked> Sealed <input type=radio> Open</p>
    <p><select><optgroup label=a><option>1</optgroup><optgroup label=b><option selected>2</optgroup></select></p>
    <p>Notes <textarea>two
    lines</textarea></p><input type=hidden value=token><input type=password value=secret>
    <input type=submit value=Send></form>"""
    assert (
        text(form) == "Name: Ann Lee\n\nUnit: MPa\n\nColour: red, blue\n\n[x] Sealed [ ] Open\n\n2\n\nNotes: two lines"
    )


@pytest.mark.parametrize(
    ("html", "parts"),
    [
        ("<img src=flow.png>", {"image without description": 1}),
        ("<img src=a.png alt=''><img src=b.png alt='A pump'><img src=c.gif width=1 height=1>", {}),
        ("<figure><img src=a.png><figcaption>The pump</figcaption></figure>", {}),
        (
            "<iframe src=https://a.example/v></iframe><iframe src=x style='display: none'></iframe>",
            {"embedded page": 1},
        ),
        ("<video src=a.mp4>No video</video><audio src=b></audio>", {"video": 1, "audio": 1}),
        ("<object data=a.swf></object><object data=b>The words</object>", {"embedded object": 1}),
        ("<canvas></canvas>", {"canvas": 1}),
        ("<div><video src=a><p>No video</p></video></div>", {"video": 1}),
        ("<x-card><template shadowrootmode=open><p>x</template></x-card>", {"shadow root": 1}),
        ("<script>x()</script><style>x{}</style>", {}),
    ],
)
def test_parts_without_text_are_omissions(html, parts):
    assert omitted(html) == parts


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        (
            '<math><semantics><mi>E</mi><annotation encoding="application/x-tex">E = mc^2</annotation></math>',
            "$E = mc^2$",
        ),
        (r'<math alttext="{\displaystyle a^{2}}"><mi>a</mi></math>', "$a^{2}$"),
        ("<math display=block><msup><mi>x</mi><mn>2</mn></msup></math>", "$$x^{2}$$"),
        ("<math><mfrac><mn>1</mn><msqrt><mi>n</mi></msqrt></mfrac></math>", r"$\frac{1}{\sqrt{n}}$"),
        ('<script type="math/tex">\\alpha</script>', r"$\alpha$"),
        (
            "<span class=katex><math><mi>x</mi></math><span aria-hidden=true>x</span></span>",
            "$x$",
        ),
    ],
)
def test_formulas_become_latex(html, markdown):
    assert text(f"<p>{html}") == markdown


def test_unknown_formula_is_an_omission():
    assert omitted("<p><math><mmultiscripts><mi>x</mi><mn>1</mn></mmultiscripts></math>") == {"equation": 1}
