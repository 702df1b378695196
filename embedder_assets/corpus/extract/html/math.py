"""MathML as LaTeX: the source that it carries, or what its elements say."""

from __future__ import annotations

from selectolax.lexbor import LexborNode

from embedder_assets.corpus.extract.html.context import TEXT, Context, attribute, collapse

_TEX = "annotation[encoding*='tex' i]"
_DISPLAY_STYLE = "{\\displaystyle "
# What each element with operands becomes; `{0}` is its first operand.
_FORMS = {
    "mfrac": (2, r"\frac{{{0}}}{{{1}}}"),
    "msup": (2, "{0}^{{{1}}}"),
    "mover": (2, "{0}^{{{1}}}"),
    "msub": (2, "{0}_{{{1}}}"),
    "munder": (2, "{0}_{{{1}}}"),
    "msubsup": (3, "{0}_{{{1}}}^{{{2}}}"),
    "munderover": (3, "{0}_{{{1}}}^{{{2}}}"),
    "mroot": (2, r"\sqrt[{1}]{{{0}}}"),
}
_WRAPPED = {
    "msqrt": (" ", r"\sqrt{{{}}}"),
    "mfenced": (", ", "({})"),
    "mtr": (" & ", "{}"),
    "mtable": (r" \\ ", r"\begin{{matrix}} {} \end{{matrix}}"),
}
_ROWS = {"math", "mrow", "mstyle", "mpadded", "mi", "mn", "mo", "ms", "mtext", "mtd", "mspace"}


class _UnknownElementError(Exception):
    """An element of MathML that this has no LaTeX for."""


def latex(math: LexborNode, context: Context) -> str | None:
    """A formula between dollar signs; None if it carries no LaTeX and has an element that this does not know."""
    annotation = math.css_first(_TEX)
    source = annotation.text() if annotation is not None else attribute(math, "alttext")
    try:
        source = " ".join((source or _write(math, context)).split())
    except _UnknownElementError:
        return None
    if source.startswith(_DISPLAY_STYLE) and source.endswith("}"):
        source = source.removeprefix(_DISPLAY_STYLE)[:-1].strip()
    mark = "$$" if attribute(math, "display") == "block" else "$"
    return f"{mark}{source}{mark}" if source else ""


def _write(node: LexborNode, context: Context) -> str:
    tag = node.tag or ""
    if tag == TEXT:
        return collapse(node.text_content or "").strip()
    inside = [child for child in context.children(node) if child.tag != TEXT or (child.text_content or "").strip()]
    if tag == "semantics":
        return _write(inside[0], context) if inside else ""
    parts = [_write(child, context) for child in inside]
    if tag in _FORMS and len(parts) == _FORMS[tag][0]:
        return _FORMS[tag][1].format(*parts)
    if tag not in _ROWS and tag not in _WRAPPED:
        raise _UnknownElementError(tag)
    joint, form = _WRAPPED.get(tag, (" ", "{}"))
    return form.format(joint.join(filter(None, parts)))
