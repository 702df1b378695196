"""Directives of reStructuredText that lose no text: those of docutils without its refusals, and all that it lacks.

docutils drops a directive with its content where it does not know its name or an option, or where a value or the number
of arguments is wrong; Sphinx and its extensions have hundreds of names and options more. Here an option that is not
understood is left out if it is about the looks, and kept as text if it has words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

# Imported by ``rst`` when there is such a document.
from docutils import nodes  # noqa: TID253
from docutils.parsers.rst import Directive, DirectiveError, directives  # noqa: TID253
from docutils.parsers.rst.directives import admonitions, body, images, tables  # noqa: TID253

# More of them in one document are none of its directives.
_MAX_NAMES = 1000
_NAME = re.compile(r"\.\.[ \t]+(?:\|[^|\n]{1,200}\|[ \t]+)?([\w.+:-]{1,60}?)[ \t]?::(?:[ \t]|$)", re.MULTILINE)
_ADMONITIONS = "Admonition Attention Caution Danger Error Hint Important Note Tip Warning".split()  # noqa: SIM905
_KNOWN: dict[str, type[Directive]] = {
    **{name.lower(): getattr(admonitions, name) for name in _ADMONITIONS},
    "code": body.CodeBlock,
    "code-block": body.CodeBlock,
    "sourcecode": body.CodeBlock,
    "sidebar": body.Sidebar,
    "topic": body.Topic,
    "parsed-literal": body.ParsedLiteral,
    "math": body.MathBlock,
    "rubric": body.Rubric,
    "epigraph": body.Epigraph,
    "highlights": body.Highlights,
    "pull-quote": body.PullQuote,
    "compound": body.Compound,
    "container": body.Container,
    "table": tables.RSTTable,
    "csv-table": tables.CSVTable,
    "list-table": tables.ListTable,
    "image": images.Image,
    "figure": images.Figure,
}
# These are as docutils has them: they change how the document is read, and have no text of their own.
_AS_THEY_ARE = {"replace", "unicode", "date", "role", "default-role", "class", "title", "meta", "sectnum", "contents"}
_INCLUDES = {"include", "literalinclude", "verbatiminclude", "mdinclude", "csv-table"}
_LITERAL = re.compile(
    "prompt|test(code|setup|cleanup|output)|doctest|ipython3?|graphviz|graph|digraph|mermaid|uml|plantuml|console|plot|"
    "productionlist|runblock|jupyter-execute|code-cell|code-tab|(command|program)-output|terminal|jinja|tikz|"
    "(block|seq|act|nw)diag"
)
# What a reader sees in the place of their names.
_LABELS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
    "deprecated-removed": "Deprecated",
    "seealso": "See also",
    "todo": "To do",
}
# Their arguments choose how the text is shown, or where it is filed.
_SILENT = re.compile("only|ifconfig|highlight(lang)?|index|tabularcolumns|currentmodule|container")
# Options with words, though it may be one; and those about the looks, though they may have several.
_WORDS = re.compile("caption|title|header|subtitle|summary|synopsis|description|alt|abstract")
_LOOKS = re.compile(
    "class(-.*)?|columns|gutter|margin|padding|name|label|(emphasize-)?lines|widths?|height|scale|align|style"
)


class omitted(nodes.Element):  # noqa: N801 - as docutils names its nodes
    """Stands where something was left out; its attributes are ``part`` and ``detail``."""


def register_directives(source: str) -> None:
    """Make docutils know every directive that a document names."""
    names = {name.lower() for name in _NAME.findall(source)}
    for name in sorted(names - _AS_THEY_ARE)[:_MAX_NAMES]:
        directives.register_directive(name, _tolerant(name) if name in _KNOWN else _SPECIAL.get(name, _Unknown))


class _Options(dict[str, Callable[[str], Any]]):
    """The options of a directive, and any other; one with a wrong value is the value's text."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Callable[[str], Any]:
        convert = self.get(name)

        def lenient(value: str) -> Any:
            if convert is not None:
                try:
                    return convert(value)
                except (ValueError, TypeError):
                    pass
            return _Unread(value or "")

        return lenient


class _Unread(str):
    """The value of an option that is unknown, or wrong."""


class _Tolerant(Directive):
    """What the two kinds below share."""

    def parsed(self) -> list[nodes.Node]:
        """The content, read as reStructuredText."""
        container = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, container, match_titles=True)
        return list(container.children)

    def words(self) -> list[nodes.Node]:
        """The text of the options that have some; they are taken away from those that are not understood."""
        unread = {name: value for name, value in self.options.items() if isinstance(value, _Unread)}
        self.options = {name: value for name, value in self.options.items() if name not in unread}
        spoken = {name: value for name, value in unread.items() if _is_prose(name, value)}
        return [self.paragraph(value) for value in spoken.values()]

    def paragraph(self, text: str) -> nodes.paragraph:
        """Words with their marks; a signature is as it is."""
        parsed, _ = self.state.inline_text(text, self.lineno)
        if any(isinstance(node, nodes.problematic) for node in parsed):
            parsed = [nodes.Text(text)]
        return nodes.paragraph(text, "", *parsed)

    def all_text(self) -> list[nodes.Node]:
        """Arguments, options with words, and content."""
        return [*(self.paragraph(argument) for argument in self.arguments), *self.words(), *self.parsed()]


class _Unknown(_Tolerant):
    """A directive that docutils does not have."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = _Options()

    def run(self) -> list[nodes.Node]:
        """Its argument and its content, behind the words that a reader sees for its name."""
        name = self.name.lower().rpartition(":")[2]
        if _LITERAL.fullmatch(name):
            text = "\n".join(self.content)
            spoken = [self.paragraph(each) for each in self.arguments if " " in each]
            return [*spoken, *self.words(), *([nodes.literal_block(text, text)] if text.strip() else [])]
        arguments = [] if _SILENT.fullmatch(name) else [line for each in self.arguments for line in each.split("\n")]
        if label := _LABELS.get(name):
            arguments = [" ".join([label, *arguments])]
        return [*map(self.paragraph, arguments), *self.words(), *self.parsed()]


class _TocTree(_Tolerant):
    """The documents below this one."""

    has_content = True
    option_spec = _Options()

    def run(self) -> list[nodes.Node]:
        """A list of their titles, or names."""
        entries = [entry.rpartition(" <")[0] or entry for entry in self.content if entry.strip()]
        items = [nodes.list_item("", nodes.paragraph("", entry.strip())) for entry in entries]
        return [*self.words(), *([nodes.bullet_list("", *items)] if items else [])]


class _Included(_Tolerant):
    """Another file, which is not read."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = _Options()

    def run(self) -> list[nodes.Node]:
        """What names the file, and the words that stand here."""
        return [omitted(part="included file", detail=" ".join(self.arguments)), *self.words(), *self.parsed()]


class _Raw(_Included):
    """Text for one writer of docutils only."""

    def run(self) -> list[nodes.Node]:
        """HTML stays; of other formats nobody knows what they say."""
        formats = " ".join(self.arguments).lower()
        if {"file", "url"} & set(self.options):
            return [omitted(part="included file", detail=str(self.options.get("file") or self.options["url"]))]
        if "html" in formats.split():
            return [nodes.raw("", "\n".join(self.content), format="html")]
        return [omitted(part="raw block", detail=formats)]


_SPECIAL: dict[str, type[Directive]] = {
    **dict.fromkeys(_INCLUDES, _Included),
    "toctree": _TocTree,
    "raw": _Raw,
}


@cache
def _tolerant(name: str) -> type[Directive]:
    """A directive of docutils that takes any option and any number of arguments."""
    base = _KNOWN[name]

    class Tolerant(_Tolerant, base):  # type: ignore[misc, valid-type]
        required_arguments = 0
        optional_arguments = base.required_arguments + base.optional_arguments
        final_argument_whitespace = True
        has_content = True
        option_spec = _Options(base.option_spec or {})

        def run(self) -> list[nodes.Node]:
            if base is tables.CSVTable and {"file", "url"} & set(self.options):
                file = self.options.get("file") or self.options["url"]
                return [omitted(part="included file", detail=str(file)), *self.all_text()]
            words = self.words()
            try:
                found = list(super().run())
            except (DirectiveError, LookupError, ValueError, TypeError, AttributeError):
                found = []
            if not found or all(isinstance(node, nodes.system_message) for node in found):
                found = self.all_text()
            elif not base.has_content:
                found += self.parsed()
            for admonition in found[:1]:
                if isinstance(admonition, nodes.Admonition) and isinstance(admonition, nodes.Element):
                    admonition[1:1] = words  # below its name
                    return found
            return [*words, *found]

    return Tolerant


def _is_prose(name: str, value: str) -> bool:
    """Whether the value of an option is something that a person reads."""
    if _LOOKS.fullmatch(name):
        return False
    return _WORDS.fullmatch(name) is not None or len(re.findall(r"[^\W\d_]{2,}", value)) > 1
