"""reStructuredText through docutils, with everything switched off that could read other files or run code.

Sphinx extends reStructuredText by directives and roles that docutils does not know. Their text is kept.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.limits import DocumentLimits, too_deep
from embedder_assets.corpus.extract.plain import decode

if TYPE_CHECKING:
    from docutils import nodes

_SETTINGS: dict[str, Any] = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "traceback": True,
    "doctitle_xform": False,
    "docinfo_xform": False,
    "initial_header_level": 1,
    "syntax_highlight": "none",
    "embed_stylesheet": False,
    "stylesheet_path": "",
    "math_output": "LaTeX",
    "line_length_limit": 10_000_000,
}
_UNKNOWN_ROLE = re.compile(r"^:[\w:+.-]+:`~?!?([^`<]*?)\s*(?:<[^`]*>)?`$|^`([^`<]*?)\s*(?:<[^`]*>)?`:[\w:+.-]+:$")
_OPTION_LINE = re.compile(r"^:[\w-]+:.*$")


def extract_rst(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn reStructuredText into Markdown.

    Raises:
        DocumentError: With kind ``too_deep``, ``binary`` or ``not_utf8``.
    """
    from docutils.core import publish_doctree, publish_from_doctree

    source = decode(data, thing)
    _refuse_deep(source, thing, limits.nesting)
    doctree = publish_doctree(source, settings_overrides=_SETTINGS)
    _keep_unknown_markup(doctree)
    html = publish_from_doctree(doctree, writer="html5", settings_overrides=_SETTINGS | {"output_encoding": "unicode"})
    return Extracted(markdown_of_html(html, thing, limits))


def _refuse_deep(source: str, thing: str, limit: int) -> None:
    """Counts levels of indentation: docutils calls itself for each."""
    levels: list[int] = []
    for line in source.expandtabs().splitlines():
        indentation = len(line) - len(line.lstrip(" "))
        while levels and levels[-1] >= indentation and line:
            levels.pop()
        if line and indentation:
            levels.append(indentation)
        if len(levels) > limit:
            raise too_deep(thing, limit, f"{len(levels)} levels of indentation")


def _keep_unknown_markup(doctree: nodes.document) -> None:
    from docutils import nodes

    for problem in list(doctree.findall(nodes.problematic)):
        problem.parent.replace(problem, nodes.Text(_role_text(problem.astext())))
    for message in list(doctree.findall(nodes.system_message)):
        source = next(iter(message.findall(nodes.literal_block)), None)
        if source is not None and message[0].astext().startswith("Unknown directive type"):
            paragraphs = [nodes.paragraph("", part) for part in _directive_text(source.astext())]
            message.parent.replace(message, paragraphs)


def _role_text(markup: str) -> str:
    match = _UNKNOWN_ROLE.match(markup)
    return next((text for text in match.groups() if text), markup) if match else markup


def _directive_text(markup: str) -> list[str]:
    """Give the paragraphs of a directive such as ``.. py:function:: name``: its argument, then its content."""
    first, _, rest = markup.partition("\n")
    body = "\n".join(line for line in inspect.cleandoc(rest).split("\n") if not _OPTION_LINE.match(line))
    paragraphs = [first.partition("::")[2], *body.split("\n\n")]
    return [text.strip() for text in paragraphs if text.strip()]
