"""Equations of Office (OMML, ECMA-376, part 1, 22.1) as LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from xml.etree.ElementTree import Element

from embedder_assets.corpus.extract.office.equation_signs import LATEX_CHARACTERS

MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_NOT_SHOWN = {_WORD + "del", _WORD + "moveFrom", _WORD + "delText"}

# Around the number of an equation until the Markdown is made: noncharacters, which no document holds.
_PLACEHOLDER = "\ufdd0{}\ufdd1"
_PLACE = re.compile(_PLACEHOLDER.format(r"(\d+)"))
_PLACE_ALONE = re.compile(rf"^{_PLACE.pattern}$", re.MULTILINE)


class EquationText:
    """The equations of a document: places for them in what becomes Markdown, and their LaTeX once it is."""

    def __init__(self) -> None:
        self._latex: list[str] = []

    def placeholder(self, equation: Element) -> str:
        """What stands for an equation (an element ``oMath``); nothing where it says nothing."""
        latex = latex_of(equation)
        if not latex:
            return ""
        self._latex.append(latex)
        return _PLACEHOLDER.format(len(self._latex) - 1)

    def fill(self, text: str) -> str:
        """Markdown with the equations between dollar signs, two where one stands alone."""
        alone = _PLACE_ALONE.sub(lambda found: f"$${self._latex[int(found[1])]}$$", text)
        return _PLACE.sub(lambda found: f"${self._latex[int(found[1])]}$", alone)


def latex_of(equation: Element) -> str:
    """An equation (an element ``oMath``) as LaTeX without dollar signs; elements it does not know keep their text."""
    return _NEEDLESS_SPACE.sub(r"\1", " ".join(_all(equation).split()))


def _all(parent: Element | None) -> str:
    return "" if parent is None else "".join(map(_one, parent))


def _one(element: Element) -> str:
    if element.tag in {MATH + "t", _WORD + "t"}:
        return "".join(LATEX_CHARACTERS.get(each, each) for each in _plain_letters(element.text or ""))
    if element.tag in _NOT_SHOWN:
        return ""
    name = element.tag.removeprefix(MATH)
    if name in _FORMS:
        return _FORMS[name](element)
    return "" if name.endswith("Pr") else _all(element)


def _plain_letters(text: str) -> str:
    """The letters that Unicode has once more for mathematics as the usual ones; LaTeX slants variables by itself."""
    if text.isascii():
        return text
    return "".join(unicodedata.normalize("NFKC", each) if each >= "\U0001d400" else each for each in text)


def _child(element: Element, name: str) -> str:
    return _all(element.find(MATH + name))


def _property(element: Element, name: str, otherwise: str = "") -> str:
    """The value of a property: ``otherwise`` where it is not given, ``1`` where it is given without a value."""
    found = element.find(f"{element.tag}Pr/{MATH}{name}")
    return otherwise if found is None else found.get(f"{MATH}val", found.get("val", "1"))


def _is_on(element: Element, name: str, otherwise: str = "0") -> bool:
    return _property(element, name, otherwise) not in {"0", "off", "false"}


def _base(text: str) -> str:
    """What a script is put on: in braces, unless it is one sign, command or pair of brackets."""
    return text if len(text.strip()) <= 1 or _ONE_SIGN.fullmatch(text.strip()) else f"{{{text}}}"


def _scripts(element: Element) -> str:
    return _base(_child(element, "e")) + _limits(element)


def _limits(element: Element) -> str:
    marks = [(mark, _child(element, name)) for mark, name in (("_", "sub"), ("^", "sup"))]
    return "".join(f"{mark}{{{text}}}" for mark, text in marks if text)


def _run(element: Element) -> str:
    text = _all(element)
    if _is_on(element, "nor"):
        return f"\\text{{{text}}}"
    style = _ALPHABETS.get(_property(element, "scr"))
    return f"{style}{{{text}}}" if style else text


def _fraction(element: Element) -> str:
    above, below, kind = _child(element, "num"), _child(element, "den"), _property(element, "type")
    if kind in {"lin", "skw"}:
        return "/".join(f"{{{each}}}" if _SUM.search(each) else each for each in (above, below))
    return f"{{{above} \\atop {below}}}" if kind == "noBar" else f"\\frac{{{above}}}{{{below}}}"


def _root(element: Element) -> str:
    degree = "" if _is_on(element, "degHide") else _child(element, "deg")
    return f"\\sqrt{f'[{degree}]' if degree else ''}{{{_child(element, 'e')}}}"


def _operator(element: Element) -> str:
    sign = _property(element, "chr", "∫")
    return f"{LATEX_CHARACTERS.get(sign, sign)}{_limits(element)}{{{_child(element, 'e')}}}"


def _brackets(element: Element) -> str:
    opening, closing = _property(element, "begChr", "("), _property(element, "endChr", ")")
    separator = _property(element, "sepChr", "|")
    parts = map(_all, element.iterfind(f"{MATH}e"))
    inside = {"|": r" \mid "}.get(separator, separator).join(parts)
    if (opening, closing) == ("(", ")") and (binomial := _BINOMIAL.fullmatch(inside)):
        return f"\\binom{{{binomial[1]}}}{{{binomial[2]}}}"
    opening, closing = (LATEX_CHARACTERS.get(each, each) or "." for each in (opening, closing))
    return f"\\left{opening}{inside}\\right{closing}"


def _function(element: Element) -> str:
    name = _named(_child(element, "fName"))
    name = f"\\operatorname{{{name}}}" if name.isalpha() and len(name) > 1 else name
    return f"{name}{{{_child(element, 'e')}}}"


def _named(text: str) -> str:
    return _FUNCTIONS.sub(lambda found: f"\\{found[0]} ", text)


def _accent(element: Element) -> str:
    sign = _property(element, "chr", "\u0302")
    command = _ACCENTS.get(sign)
    return f"{command}{{{_child(element, 'e')}}}" if command else f"\\overset{{{sign}}}{{{_child(element, 'e')}}}"


def _bar(element: Element) -> str:
    command = r"\overline" if _property(element, "pos", "bot") == "top" else r"\underline"
    return f"{command}{{{_child(element, 'e')}}}"


def _group_sign(element: Element) -> str:
    sign = _property(element, "chr", "\u23df")
    place = r"\overset" if _property(element, "pos", "bot") == "top" else r"\underset"
    command = _ACCENTS.get(sign) or f"{place}{{{LATEX_CHARACTERS.get(sign, sign)}}}"
    return f"{command}{{{_child(element, 'e')}}}"


def _limit(mark: str) -> Callable[[Element], str]:
    return lambda element: f"{_base(_named(_child(element, 'e')))}{mark}{{{_child(element, 'lim')}}}"


def _matrix(element: Element) -> str:
    rows = (" & ".join(map(_all, row.iterfind(f"{MATH}e"))) for row in element.iterfind(f"{MATH}mr"))
    return _environment("matrix", rows)


def _lines(element: Element) -> str:
    rows = [_all(each).replace(r"\&", "&") for each in element.iterfind(f"{MATH}e")]  # there a place, no sign
    return _environment("aligned", rows)


def _environment(name: str, rows: Iterable[str]) -> str:
    lines = r" \\ ".join(rows)
    return rf"\begin{{{name}}}{lines}\end{{{name}}}"


_FORMS: dict[str, Callable[[Element], str]] = {
    **dict.fromkeys(("sSub", "sSup", "sSubSup"), _scripts),
    "acc": _accent,
    "bar": _bar,
    "borderBox": lambda element: f"\\boxed{{{_child(element, 'e')}}}",
    "d": _brackets,
    "eqArr": _lines,
    "f": _fraction,
    "func": _function,
    "groupChr": _group_sign,
    "limLow": _limit("_"),
    "limUpp": _limit("^"),
    "m": _matrix,
    "nary": _operator,
    "phant": lambda element: _child(element, "e") if _is_on(element, "show", "1") else "",
    "r": _run,
    "rad": _root,
    "sPre": lambda element: f"{{}}{_limits(element)}{_base(_child(element, 'e'))}",
}
_ALPHABETS = {"double-struck": r"\mathbb", "script": r"\mathcal", "fraktur": r"\mathfrak"}
_NEEDLESS_SPACE = re.compile(r"(\\[A-Za-z]+) (?=[\^_{}\])&]|$)")
_ONE_SIGN = re.compile(r"\\[A-Za-z]+|\\[a-z]+\{[^{}]*\}|\\left[^{}]*\\right\S", re.ASCII)
_BINOMIAL = re.compile(r"\{((?:[^{}]|\{[^{}]*\})*) \\atop ((?:[^{}]|\{[^{}]*\})*)\}")
_SUM = re.compile(r"[-+±]")
_FUNCTIONS = re.compile(
    r"(?<![\\A-Za-z])(?:arc(?:sin|cos|tan)|(?:sin|cos|tan|cot)h?|sec|csc|exp|ln|log|lg|lim|limsup|liminf|max|min|sup|inf"
    r"|det|dim|gcd|ker|arg|deg|hom|Pr)(?![A-Za-z])"
)
_ACCENTS = {
    "\u0300": r"\grave",
    "\u0301": r"\acute",
    "\u0302": r"\hat",
    "^": r"\hat",
    "\u0303": r"\tilde",
    "~": r"\tilde",
    "\u0304": r"\bar",
    "\u00af": r"\bar",
    "\u0305": r"\overline",
    "\u0306": r"\breve",
    "\u0307": r"\dot",
    "\u0308": r"\ddot",
    "\u030c": r"\check",
    "\u20d7": r"\vec",
    "\u2192": r"\overrightarrow",
    "\u23de": r"\overbrace",
    "\u23df": r"\underbrace",
}
