"""reStructuredText through docutils, with everything switched off that could read other files or run code.

What docutils refuses keeps its text (``rst_directives``; the rest here), and what is left out is named.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from embedder_assets.corpus.extract.extracted import Extracted, Omission, Value, keyword_list
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
_DIRECTIVE = re.compile(r"\s*\.\.\s.*::")
_COMMENT_FIELD = re.compile(r"([a-z_]+): *(.*)")
_FIELD_CHARS = 300
_DETAIL_CHARS = 80


def extract_rst(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn reStructuredText into Markdown; a field list at the top, and ``meta``, are its metadata.

    Raises:
        DocumentError: With kind ``too_deep``, ``binary`` or ``not_utf8``.
    """
    from docutils.core import publish_doctree, publish_from_doctree

    from embedder_assets.corpus.extract.markup.rst_directives import register_directives

    source = decode(data, thing)
    _refuse_deep(source, thing, limits.nesting)
    register_directives(source)
    doctree = publish_doctree(source, settings_overrides=_SETTINGS)
    metadata = _take_metadata(doctree)
    title = metadata.pop("title", "")
    omissions = _take_omissions(doctree)
    _keep_refused_markup(doctree)
    html = publish_from_doctree(doctree, writer="html5", settings_overrides=_SETTINGS | {"output_encoding": "unicode"})
    return Extracted(markdown_of_html(html, thing, limits), str(title), metadata, omissions)


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


def _keep_refused_markup(doctree: nodes.document) -> None:
    from docutils import nodes

    for problem in list(doctree.findall(nodes.problematic)):
        problem.parent.replace(problem, nodes.Text(_role_text(problem.astext())))
    for message in list(doctree.findall(nodes.system_message)):
        source = next(iter(message.findall(nodes.literal_block)), None)
        if source is not None and message.parent is not None:
            message.parent.replace(message, list(_refused(source.astext())))


def _refused(markup: str) -> Iterator[nodes.Node]:
    """The text of a directive that docutils refused, in paragraphs; anything else, such as a table, as it stands."""
    from docutils import nodes

    if _DIRECTIVE.match(markup):
        yield from (nodes.paragraph("", part) for part in _directive_text(markup))
    else:
        yield nodes.literal_block(markup, markup)


def _take_omissions(doctree: nodes.document) -> tuple[Omission, ...]:
    """Takes out what stands for something that was left out, and comments, and says how many of each there were."""
    from docutils import nodes

    from embedder_assets.corpus.extract.markup.rst_directives import omitted

    details: dict[str, list[str]] = defaultdict(list)
    for node in [*doctree.findall(omitted), *doctree.findall(nodes.comment)]:
        is_comment = isinstance(node, nodes.comment)
        if not is_comment or node.astext().strip():
            part, detail = ("comment", node.astext()) if is_comment else (node["part"], node["detail"])
            details[part].append(" ".join(detail.split())[:_DETAIL_CHARS])
        node.parent.remove(node)
    return tuple(Omission(part, len(found), "; ".join(found[:3])) for part, found in sorted(details.items()))


def _take_metadata(doctree: nodes.document) -> dict[str, Value]:
    """The fields of the list at the top, above or below the title, of ``meta``, and of comments as Nikola has them."""
    from docutils import nodes

    fields: dict[str, str] = {}
    for node in list(_head(doctree)):
        if isinstance(node, nodes.comment) and (field := _COMMENT_FIELD.fullmatch(node.astext())):
            fields[field[1]] = field[2]
            node.parent.remove(node)
        elif isinstance(node, nodes.field_list):
            fields |= _take_fields(node)
            break
    for meta in doctree.findall(nodes.meta):
        if "name" in meta:
            fields[meta["name"]] = meta["content"]
    fields["title"] = doctree.get("title") or fields.get("title", "")
    words = {name: value for name, value in fields.items() if value}
    return {name: keyword_list(value) if name == "keywords" else value for name, value in words.items()}


def _head(doctree: nodes.document) -> Iterator[nodes.Node]:
    """What stands above the text: up to the first field list, also below the title."""
    from docutils import nodes

    silent = (
        nodes.comment,
        nodes.target,
        nodes.substitution_definition,
        nodes.meta,
        nodes.pending,
        nodes.system_message,
    )
    places: list[Iterable[nodes.Node]] = [doctree.children]
    for node in doctree.children:
        if not isinstance(node, silent):
            places += [node.children[1:]] if isinstance(node, nodes.section) else []
            break
    for place in places:
        for node in place:
            if isinstance(node, silent):
                yield node
            else:
                if isinstance(node, nodes.field_list):
                    yield node
                break


def _take_fields(field_list: nodes.field_list) -> dict[str, str]:
    """The short fields of a list; one with paragraphs of text, such as an abstract, stays where it is."""
    fields = {}
    for field in list(field_list.children):
        name, body = (part.astext().strip() for part in field.children)
        if len(body) <= _FIELD_CHARS and "\n\n" not in body:
            fields[name.lower()] = " ".join(body.split())
            field_list.remove(field)
    if not field_list.children:
        field_list.parent.remove(field_list)
    return fields


def _role_text(markup: str) -> str:
    match = _UNKNOWN_ROLE.match(markup)
    return next((text for text in match.groups() if text), markup) if match else markup


def _directive_text(markup: str) -> list[str]:
    """Give the paragraphs of a directive such as ``.. py:function:: name``: its argument, then its content."""
    first, _, rest = markup.partition("\n")
    body = "\n".join(line for line in inspect.cleandoc(rest).split("\n") if not _OPTION_LINE.match(line))
    paragraphs = [first.partition("::")[2], *body.split("\n\n")]
    return [text.strip() for text in paragraphs if text.strip()]
