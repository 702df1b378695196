"""The block above a Markdown document in which it says what it is: YAML, TOML, JSON, or lines of fields.

Jekyll, Hugo, Docusaurus and Obsidian read YAML between ``---``; Hugo also TOML between ``+++``, and JSON; Pandoc a
title block of ``%`` lines; MultiMarkdown and Pelican lines ``Title: ...``. YAML is read by its core schema 1.2, so that
``no`` and ``12:30`` are text. It runs without a process of its own: a block is small, and nothing in it is expanded.
"""

from __future__ import annotations

import functools
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

from embedder_assets.corpus.extract.extracted import Omission, Value, keyword_list
from embedder_assets.corpus.metadata.values import ACL

# A larger block is no front matter, and would take a parser long.
_MAX_CHARS = 65_536
_MAX_FIELDS, _MAX_LEVELS, _MAX_NESTING = 500, 8, 50
_BLOCK = re.compile(
    r"\s{0,100}?^(?P<fence>---|\+\+\+|;;;)[ \t]*(?P<format>yaml|toml|json)?[ \t]*\n"
    r"(?P<body>.*?)^(?:(?P=fence)|\.\.\.)[ \t]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_FORMATS = {"---": "yaml", "+++": "toml", ";;;": "json"}
_UNCLOSED = re.compile(r"---[ \t]*\n(?:[a-z][\w-]*:(?:[ \t].*)?\n){2,}")
_JSON = re.compile(r"\{\s*\"[^\"\n]*\"\s*:")
_JSON_BLOCK = re.compile(r".*?^\}[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_KEY_LINE = re.compile(r"[\"']?\w[^\s:=]*[\"']?[ \t]*[:=]")
_TITLE_LINE = re.compile(r"^(?:[ \t]*[\"'])?title[\"']?[ \t]*[:=][ \t]*(.+)$", re.MULTILINE | re.IGNORECASE)
_PANDOC = re.compile(r"% *(?P<title>\S.*(?:\n[ \t]+\S.*)*)\n(?:% *(?P<author>.*)\n)?(?:% *(?P<date>.*)(?:\n|\Z))?")
_FIELD_LINES = re.compile(r"(?i:title):[ \t]*\S.*\n(?:(?:[A-Za-z][\w -]*:|[ \t]+\S).*(?:\n|\Z))*(?=\n|\Z)")
_FIELD_LINE = re.compile(r"^([A-Za-z][\w -]*):[ \t]*(.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class FrontMatter:
    """What stands above a document.

    Attributes:
        text: The document without it.
        title: The field of that name; empty where there is none.
        fields: The others, in lower case; those of a map inside a map are named ``outer.inner``.
        omissions: Values that are neither text, number, boolean, date nor a list of them; or all of a broken block.
    """

    text: str
    title: str = ""
    fields: dict[str, Value] = field(default_factory=dict)
    omissions: tuple[Omission, ...] = ()


class _BrokenError(Exception):
    """What the parser says of a block."""


def read_front_matter(text: str) -> FrontMatter:
    """Divide a Markdown document, with line feeds as line ends, into front matter and text.

    A block that its parser refuses stays in the text, as code, and is named as an omission: no fields come of it but
    the title.
    """
    head = text[:_MAX_CHARS]
    if block := _BLOCK.match(head):
        return _fenced(text, block)
    if _JSON.match(head):
        return _json(text, head)
    if unclosed := _UNCLOSED.match(head):
        return _broken(text, unclosed.group(), "yaml", unclosed.end(), "no --- ends it")
    if block := _PANDOC.match(head):
        named = {name: value for name, value in block.groupdict().items() if value}
        return _from_fields(named, text[block.end() :])
    if block := _FIELD_LINES.match(head):
        return _from_fields(dict(_FIELD_LINE.findall(block.group())), text[block.end() :])
    return FrontMatter(text)


def fields_of(values: dict[Any, Any]) -> tuple[dict[str, Value], tuple[Omission, ...]]:
    """Parsed values as metadata fields, and those that cannot be one."""
    fields: dict[str, Value] = {}
    left_out, size = [], 0
    for count, (name, value) in enumerate(_flattened(values, "", 1)):
        plain = _plain(value)
        size += len(str(plain))
        if count == _MAX_FIELDS or size > _MAX_CHARS:  # aliases of YAML multiply what a block holds
            left_out.append("all further fields, an acl if there is one")
            break
        if plain is not None and not (name == ACL and name in fields):
            fields[name] = plain
        elif value is not None or name == ACL:  # without a value, or twice, it is named, so that it opens nothing
            fields.pop(name, None)
            left_out.append(name)
    detail = f"No text, number, boolean, date or list of text: {', '.join(left_out)}."
    return fields, (Omission("metadata field", len(left_out), detail),) if left_out else ()


def _fenced(text: str, block: re.Match[str]) -> FrontMatter:
    name = block["format"] or _FORMATS[block["fence"]]
    try:
        values = _PARSERS[name](block["body"])
    except (_BrokenError, ValueError, RecursionError) as error:
        lines = (line for line in block["body"].splitlines() if line.strip() and not line.lstrip().startswith("#"))
        if not _KEY_LINE.match(next(lines, "")):
            return FrontMatter(text)  # two rules with words between them
        return _broken(text, block["body"], name, block.end(), " ".join(str(error).split()))
    rest = text[block.end() :]
    if isinstance(values, dict):
        return _from_fields(values, rest)
    return FrontMatter(rest if values is None else text)


def _json(text: str, head: str) -> FrontMatter:
    try:
        values, end = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError) as error:
        block = _JSON_BLOCK.match(head)
        return _broken(text, block.group(), "json", block.end(), str(error)) if block else FrontMatter(text)
    rest = text[end:]
    # Without a document below, it is the document.
    is_front_matter = rest.strip() and rest.lstrip(" \t").startswith("\n")
    return _from_fields(values, rest.lstrip(" \t")[1:]) if is_front_matter else FrontMatter(text)


def _broken(text: str, block: str, name: str, end: int, why: str) -> FrontMatter:
    # As code, so that none of its lines is taken for a heading.
    kept = f"```{name}\n{block.strip()}\n```\n\n{text[end:].lstrip()}"
    found = _TITLE_LINE.search(block)
    title = found[1].strip("\"', \t") if found else ""
    detail = f"It stays in the text; its fields are not read, because it is no valid {name.upper()}: {why[:200]}."
    return FrontMatter(kept, title, omissions=(Omission("front matter", 1, detail),))


def _from_fields(values: dict[Any, Any], rest: str) -> FrontMatter:
    fields, omissions = fields_of(values)
    title = fields.pop("title", "")
    if isinstance(keywords := fields.get("keywords"), str):
        fields["keywords"] = keyword_list(keywords)
    return FrontMatter(rest, "" if isinstance(title, list) else " ".join(str(title).split()), fields, omissions)


def _flattened(values: dict[Any, Any], prefix: str, level: int) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}".lower()
        if isinstance(value, dict) and value and level < _MAX_LEVELS:
            yield from _flattened(value, f"{name}.", level + 1)
        else:
            yield name, value


def _plain(value: Any) -> Value | None:
    if isinstance(value, list) and all(isinstance(each, str | int | float | date) for each in value):
        return [str(_plain(each)) for each in value]
    if isinstance(value, date | time):  # also a datetime
        return value.isoformat()
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return None


def _yaml(block: str) -> Any:
    import yaml

    loader, depth = _yaml_loader(), 0
    try:
        # What builds the values calls itself for each level, in C, where nobody counts.
        for event in yaml.parse(block, loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_NESTING:
                raise _BrokenError(f"more than {_MAX_NESTING} levels of nesting")
        return yaml.load(block, loader)
    except yaml.YAMLError as error:
        raise _BrokenError(str(error)) from error


@functools.cache
def _yaml_loader() -> type[Any]:
    """A loader of the core schema of YAML 1.2, and of dates; a tag that it does not know says nothing.

    What YAML 1.1 takes for numbers (``012``, ``1_000``, ``12:30``) is text, and so is a number that would be written
    in another way afterwards (version ``1.10``). Merge keys are no more than a key, so that nothing multiplies.
    """
    import yaml

    base: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("FrontMatterLoader", (base,), {"yaml_implicit_resolvers": {}})
    tag = "tag:yaml.org,2002:"
    timestamp = next(
        pattern for name, pattern in yaml.SafeLoader.yaml_implicit_resolvers["2"] if name == f"{tag}timestamp"
    )
    for name, pattern, first in (
        ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
        ("int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), "-+0123456789"),
        ("float", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+$"), "-+0123456789"),
        ("timestamp", timestamp, "0123456789"),
        ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ):
        loader.add_implicit_resolver(f"{tag}{name}", pattern, list(first))
    loader.add_constructor(f"{tag}float", _float)
    loader.add_constructor(f"{tag}timestamp", _timestamp)
    loader.add_constructor(None, _of_unknown_tag)
    found: type[Any] = loader
    return found


def _float(loader: Any, node: Any) -> float | str:
    text = str(loader.construct_scalar(node))
    return float(text) if repr(float(text)) == text.lstrip("+") else text


def _timestamp(loader: Any, node: Any) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:  # the 30th of February
        return loader.construct_scalar(node)


def _of_unknown_tag(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node) if isinstance(node.value, str) else object()


_PARSERS: dict[str, Callable[[str], Any]] = {"yaml": _yaml, "toml": tomllib.loads, "json": json.loads}
