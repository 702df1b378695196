"""Equations of Office as LaTeX."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from embedder_assets.corpus.extract.office.equations import MATH, EquationText, latex_of


def run(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def part(name: str, *texts: str) -> str:
    return "".join(f"<m:{name}>{text if '<' in text else run(text)}</m:{name}>" for text in texts)


def with_properties(name: str, content: str, **values: str) -> str:
    properties = "".join(f'<m:{key} m:val="{value}"/>' for key, value in values.items())
    return f"<m:{name}><m:{name}Pr>{properties}</m:{name}Pr>{content}</m:{name}>"


def equation(content: str) -> ElementTree.Element:
    return ElementTree.fromstring(f'<m:oMath xmlns:m="{MATH[1:-1]}">{content}</m:oMath>')


FRACTION = part("num", "a") + part("den", "b")
LIMIT = f"<m:limLow>{part('e', 'lim')}{part('lim', 'n→∞')}</m:limLow>"
POWER = f"<m:sSup>{part('e', 'l')}{part('sup', '2')}</m:sSup>"
ROWS = f"<m:mr>{part('e', 'a', 'b')}</m:mr><m:mr>{part('e', 'c', 'd')}</m:mr>"


@pytest.mark.parametrize(
    ("content", "latex"),
    [
        (f"<m:f>{FRACTION}</m:f>", r"\frac{a}{b}"),
        (with_properties("f", part("num", run("q") + POWER) + part("den", "8"), type="lin"), "ql^{2}/8"),
        (with_properties("f", part("num", "a+b") + part("den", "8"), type="lin"), "{a+b}/8"),
        (f"<m:d>{part('e', with_properties('f', FRACTION, type='noBar'))}</m:d>", r"\binom{a}{b}"),
        (f"<m:sSubSup>{part('e', 'xy')}{part('sub', 'i')}{part('sup', '2')}</m:sSubSup>", "{xy}_{i}^{2}"),
        (f"<m:sPre>{part('sub', '2')}{part('sup', '4')}{part('e', 'H')}</m:sPre>", "{}_{2}^{4}H"),
        (f"<m:rad>{part('deg', '3')}{part('e', 'x')}</m:rad>", r"\sqrt[3]{x}"),
        (with_properties("rad", part("deg", "") + part("e", "x"), degHide="1"), r"\sqrt{x}"),
        (with_properties("nary", part("sub", "i") + part("sup", "n") + part("e", "x"), chr="∑"), r"\sum_{i}^{n}{x}"),
        (f"<m:nary>{part('sub', '0')}{part('sup', '∞')}{part('e', 'x')}</m:nary>", r"\int_{0}^{\infty}{x}"),
        (with_properties("d", part("e", "x"), begChr="|", endChr="|"), r"\left\vert x\right\vert"),
        (with_properties("d", part("e", "x", "x&gt;0"), begChr="{", endChr="}"), r"\left\{x \mid x>0\right\}"),
        (
            with_properties("d", part("e", f"<m:eqArr>{part('e', 'a&amp;=b', 'c')}</m:eqArr>"), begChr="{", endChr=""),
            r"\left\{\begin{aligned}a&=b \\ c\end{aligned}\right.",
        ),
        (f"<m:m>{ROWS}</m:m>", r"\begin{matrix}a & b \\ c & d\end{matrix}"),
        (f"<m:func>{part('fName', 'sin')}{part('e', 'x')}</m:func>", r"\sin{x}"),
        (f"<m:func>{part('fName', 'erf')}{part('e', 'x')}</m:func>", r"\operatorname{erf}{x}"),
        (f"<m:func>{part('fName', LIMIT)}{part('e', 'x')}</m:func>", r"\lim_{n\rightarrow \infty}{x}"),
        (f"<m:acc>{part('e', 'x')}</m:acc>", r"\hat{x}"),
        (with_properties("acc", part("e", "x"), chr="⃛"), r"\overset{⃛}{x}"),
        (with_properties("bar", part("e", "x"), pos="top"), r"\overline{x}"),
        (f"<m:groupChr>{part('e', 'a+b')}</m:groupChr>", r"\underbrace{a+b}"),
        (with_properties("phant", part("e", "x"), show="0") + run("y"), "y"),
        (with_properties("r", "<m:t>R</m:t>", scr="double-struck"), r"\mathbb{R}"),
        ("<m:r><m:rPr><m:nor/></m:rPr><m:t>if a </m:t></m:r>", r"\text{if a }"),
        (run("2πr ≤ \U0001d465 \u2212 5% | #1"), r"2\pi r \leq x - 5\% \vert \#1"),
        (f"<m:box>{part('e', 'y')}</m:box>", "y"),
    ],
)
def test_elements_of_an_equation_become_latex(content, latex):
    assert latex_of(equation(content)) == latex


def test_equation_alone_is_displayed():
    equations = EquationText()
    places = [equations.placeholder(equation(run(text))) for text in ("x", " ", "y")]
    assert equations.fill(f"a {places[0]}\n\n{places[2]}\n") == "a $x$\n\n$$y$$\n"
    assert places[1] == ""
