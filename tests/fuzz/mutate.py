"""Damage at random places of a document, decided by a seed alone."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

from tests.fuzz.seeds import MAIN_PARTS, ROWS, SEEDS, WORDS

LARGEST = 50_000
Damage = Callable[[random.Random, bytes, str], bytes]


def document(chance: random.Random, suffix: str) -> bytes:
    """A damaged document of a format."""
    if suffix in MAIN_PARTS and chance.random() < 0.7:
        return _packed(chance, suffix)
    if suffix in {".json", ".ipynb"} and chance.random() < 0.6:
        # One wrong byte ends the reading of JSON, so the rest of it stays JSON.
        values = json.loads(SEEDS[suffix])
        for _ in range(chance.choice((1, 2, 5))):
            _replace(chance, values)
        return json.dumps(values, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return _damaged(chance, SEEDS[suffix], suffix)


def _replace(chance: random.Random, values: Any) -> None:
    """Puts something odd in the place of a value of JSON, at any depth."""
    keys = list(values) if isinstance(values, dict) else list(range(len(values)))
    if not keys:
        return
    key = chance.choice(keys)
    if isinstance(values[key], dict | list) and values[key] and chance.random() < 0.8:
        _replace(chance, values[key])
    else:
        values[key] = copy.deepcopy(chance.choice(ODD))


def line(chance: random.Random) -> bytes:
    """A damaged line of a ``corpus.jsonl``, which stays one line."""
    row = chance.choice(ROWS) | {"_id": str(chance.getrandbits(40))}
    if chance.random() < 0.5:
        # One wrong byte ends the reading of JSON, so the other half stays JSON.
        row |= {chance.choice(list(row)): chance.choice(ODD)}
        return json.dumps(row, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    content = _damaged(chance, json.dumps(row).encode(), ".jsonl")
    return content.replace(b"\n", b" ").strip() or b"{}"


def rules(chance: random.Random) -> bytes:
    """A damaged ``metadata.jsonl``: lines that say who may see what, so that none of them may open a document."""
    lines = []
    for glob in ("**", "*.md", "[0-9]*", "1*/**"):
        fields = {"acl": ["group:a"], "year": 2020, "tags": ["x"]}
        if chance.random() < 0.5:
            fields |= {chance.choice(list(fields)): chance.choice(ODD)}
        content = json.dumps({"glob": glob, **fields}).encode("utf-8", "surrogatepass")
        lines.append(_damaged(chance, content, ".jsonl") if chance.random() < 0.5 else content)
    return b"\n".join(lines)


def _packed(chance: random.Random, suffix: str) -> bytes:
    """Damage inside the parts of the archive, which itself is whole: from outside, its check sums stop most damage."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(SEEDS[suffix])) as source,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        names = [name for name in source.namelist() if name.endswith((".xml", ".rels", ".opf", ".xhtml"))]
        struck = {MAIN_PARTS[suffix]} if chance.random() < 0.6 else set(chance.sample(names, 2))
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, _damaged(chance, content, suffix) if name in struck else content)
    return file.getvalue()


def _damaged(chance: random.Random, content: bytes, suffix: str) -> bytes:
    # Where one wrong byte ends the reading, much of the damage leaves the whole well-formed.
    strict = suffix in MAIN_PARTS
    damages = WELL_FORMED if strict and chance.random() < 0.95 else DAMAGES
    if suffix == ".msg" and chance.random() < 0.8:
        damages = [_flip, _noise]  # whatever moves a sector leaves nothing that can be read
    for _ in range(chance.choice((1, 1, 2, 3) if strict else (1, 1, 2, 3, 5, 10, 30))):
        content = chance.choice(damages)(chance, content, suffix)[:LARGEST]
    return content


def _part(chance: random.Random, content: bytes) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice((1, 2, 8, 64, 512)))


def _flip(chance: random.Random, content: bytes, _: str) -> bytes:
    changed = bytearray(content)
    for at in (chance.randrange(len(content)) for _ in range(min(len(content), 3))):
        changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _noise(chance: random.Random, content: bytes, _: str) -> bytes:
    start, end = _part(chance, content)
    return content[:start] + chance.randbytes(end - start) + content[end:]


def _delete(chance: random.Random, content: bytes, _: str) -> bytes:
    start, end = _part(chance, content)
    return content[:start] + content[end:]


def _repeat(chance: random.Random, content: bytes, _: str) -> bytes:
    start, end = _part(chance, content)
    return content[:end] + content[start:end] * chance.choice((1, 10, 1000)) + content[end:]


def _move(chance: random.Random, content: bytes, _: str) -> bytes:
    start, end = _part(chance, content)
    at = chance.randrange(len(content) + 1)
    return content[:at] + content[start:end] + content[at:]


def _insert(chance: random.Random, content: bytes, suffix: str) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(WORDS[suffix]) * chance.choice((1, 1, 3, 100)) + content[at:]


def _truncate(chance: random.Random, content: bytes, _: str) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _mix(chance: random.Random, content: bytes, _: str) -> bytes:
    other = SEEDS[chance.choice(list(SEEDS))]
    return content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other)) :]


def _element(chance: random.Random, content: bytes, _: str) -> bytes:
    """Repeats, removes, empties or nests an element."""
    found = list(re.finditer(rb"<([\w:]+)(?: [^<>]*)?>(?:(?!<\1[ >]).)*?</\1>", content, re.DOTALL))
    if not found:
        return content
    element = chance.choice(found)
    start, end = element.span()
    opening, closing = element[0][: element[0].index(b">") + 1], b"</" + element[1] + b">"
    depth = chance.choice((1, 3, 60, 600))
    made = [b"", element[0] * depth, opening * depth + element[0] + closing * depth, opening + closing]
    changed = content[:start] + chance.choice(made) + content[end:]
    return changed if len(changed) <= LARGEST else content


def _value(chance: random.Random, content: bytes, _: str) -> bytes:
    """Changes what stands between quotation marks, or a number."""
    found = list(re.finditer(rb'(?<=")(?!http|1\.0|UTF|utf)[^"<>]*(?=")|(?<=[ >])\d+(?=[ <])', content))
    if not found:
        return content
    start, end = chance.choice(found).span()
    return content[:start] + chance.choice(VALUES) + content[end:]


ODD: list[object] = [
    *("", " ", "\0", "\ud800", "\x1b[2J", "\u202e", "x" * 3000, "../../etc/passwd", "\r\n\r", "\U0010ffff", "<b>&amp;"),
    *(None, True, 0, -1, 10**30, 1e308, float("nan"), [], {}, [[[[]]]], {"$ref": "#"}),
]
VALUES = [
    b"",
    b"0",
    b"-1",
    b"99999999999999999999",
    b"x" * 3000,
    b"../../../etc/passwd",
    b"file:///etc/passwd",
    b"&#65;",
]
WELL_FORMED: list[Damage] = [_element, _value]
DAMAGES: list[Damage] = [
    *WELL_FORMED,
    _flip,
    _noise,
    _delete,
    _repeat,
    _move,
    _insert,
    _insert,
    _truncate,
    _mix,
]
