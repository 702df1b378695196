"""Leaves out of a text the bytes that are written in it as letters: pictures in ``data:`` URIs, base64 and hexadecimal.

Nobody reads or looks for them, and one picture would make a thousand chunks. All formats pass through here.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import accumulate, pairwise

from embedder_assets.corpus.extract.extracted import Extracted, Omission

_DATA = "[embedded data]"
_PICTURE = "[image]"
_DETAILS = {
    "embedded image": "Its description stays.",
    "embedded file": "A data: URI.",
    "embedded data": "Base64 or hexadecimal.",
}
# What is left of a URI until the marks around it are read.
_EMPTY_URI = "data:,"
# A shorter one may be what a text is about: ``data:text/plain;base64,SGVsbG8=``.
_MIN_URI_CHARS = 64
# Longer than any digest or signature that people compare: SHA-512 has 128 hexadecimal digits.
_MIN_BLOB_CHARS = 129

_TYPE = r"data:(?P<type>[\w.+-]{1,60}/[\w.+-]{1,80})?(?:;[\w-]{1,40}(?:=[^;,\s]{0,80})?){0,8},"
_WRAPPED = r"(?:[ \t]*\n[ \t>]*[\w+/-]{40,}={0,2})*(?:[ \t]*\n[ \t>]*[\w+/-]{1,120}={1,2})?"
_URI = re.compile(
    rf"{_TYPE}(?:(?P<svg>[ \t]*(?:<|%3C)svg\b)|[\w+/=%.~!*$&:@?#-]{{{_MIN_URI_CHARS},}}{_WRAPPED})", re.IGNORECASE
)
_SVG_END = re.compile(r"(?:<|%3C)/svg\s*(?:>|%3E)", re.IGNORECASE)
_TAG = re.compile(r"<img\b[^<>]{0,2000}?\bsrc\s*=\s*[\"']?\s*data:[^<>]{0,2000}?>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_TARGET = r"[ \t]*<?data:[^\s<>]{0,200}?>?(?:[ \t]+(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'))?[ \t]*"
_IMAGE = re.compile(rf"!\[((?:[^\[\]\n]|\[[^\[\]\n]{{0,200}}\]){{0,1000}})\]\({_TARGET}\)")
_LINK = re.compile(rf"(?<!!)\[((?:[^\[\]\n]|\[[^\[\]\n]{{0,200}}\]){{0,1000}})\]\({_TARGET}\)")
_DEFINITION = re.compile(rf"^[ \t>]{{0,20}}\[([^\[\]\n]{{1,200}})\]:{_TARGET}(?:\n|\Z)", re.MULTILINE)
_REFERENCE = re.compile(r"!\[([^\[\]\n]{0,1000})\](?:\[([^\[\]\n]{0,200})\])?(?!\()")

_RUN = re.compile(rf"(?<![\w+/=-])[\w+/-]{{{_MIN_BLOB_CHARS},}}={{0,2}}", re.ASCII)
_LINES = re.compile(r"(?:^[ \t>|]{0,40}[A-Za-z0-9+/]{40,128}={0,2}[ \t]*(?:\n|\Z)){2,}", re.MULTILINE)
_LAST_LINE = re.compile(r"[ \t>|]{0,40}[\w+/-]{1,128}={1,2}[ \t]*(?=\n|\Z)", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+")
_DIGEST_CHARS = {32, 40, 48, 56, 64, 96, 128}
# Of base64 a sixth is digits and two fifths are letters of each case; words have fewer digits, paths more separators.
_MIN_DIGITS, _MIN_CASE, _MAX_SEPARATORS = 0.06, 0.1, 0.12
_NO_WORD_CHARS = 1000  # of data that repeats itself, whatever it consists of


def leave_out_embedded_data(extracted: Extracted) -> Extracted:
    """The same document with a placeholder for each embedded file: what a picture shows, or that there was data.

    What was left out is named as ``embedded image``, ``embedded file`` or ``embedded data``.
    """
    found: Counter[str] = Counter()
    offsets = [0, *extracted.pages, len(extracted.text)]
    parts = [_without_data(extracted.text[start:end], found) for start, end in pairwise(offsets)]
    if not found:
        return extracted
    pages = tuple(accumulate(len(part) for part in parts[:-1]))
    omissions = (
        *extracted.omissions,
        *(Omission(part, count, _DETAILS[part]) for part, count in sorted(found.items())),
    )
    return replace(extracted, text="".join(parts), pages=pages, omissions=omissions)


def is_nothing_but_data(text: str) -> bool:
    """Whether a text is placeholders without descriptions, and nothing else."""
    return not text.replace(_DATA, "").replace(_PICTURE, "").strip(" \t\n`")


def _without_data(text: str, found: Counter[str]) -> str:
    if "data:" in text.lower():
        text = _without_uris(text, found)
    text = _RUN.sub(lambda run: _placeholder(run.group(), [run.group()], found), text)
    return _without_wrapped_blobs(text, found)


def _without_uris(text: str, found: Counter[str]) -> str:
    def picture(description: str, target: str) -> str:
        found["embedded image"] += _EMPTY_URI not in target  # a short one, which was not counted yet
        words = " ".join(description.split())
        return f"[image: {words}]" if words else _PICTURE

    text = _with_short_uris(text, found)
    text = _TAG.sub(lambda tag: picture(_alt(tag.group()), tag.group()), text)
    text = _IMAGE.sub(lambda image: picture(image[1], image.group()), text)
    if defined := {_label(label): label for label in _DEFINITION.findall(text)}:
        text = _DEFINITION.sub("", text)
        text = _REFERENCE.sub(
            lambda image: picture(image[1], _EMPTY_URI) if _label(image[2] or image[1]) in defined else image.group(),
            text,
        )
    text = _LINK.sub(lambda link: link[1], text)
    return re.sub(rf"<?{_EMPTY_URI}>?", _DATA, text)


def _with_short_uris(text: str, found: Counter[str]) -> str:
    parts, done = [], 0
    for uri in _URI.finditer(text):
        if uri.start() < done:
            continue
        end = uri.end()
        if uri["svg"]:
            closing = _SVG_END.search(text, end)
            if not closing:
                break
            end = closing.end()
        is_picture = (uri["type"] or "").lower().startswith("image/")
        found["embedded image" if is_picture else "embedded file"] += 1
        parts += [text[done : uri.start()], _EMPTY_URI]
        done = end
    return "".join([*parts, text[done:]])


def _without_wrapped_blobs(text: str, found: Counter[str]) -> str:
    """Blobs that are broken into lines of one length, as mail programs, PEM and ``base64`` write them."""
    parts, done = [], 0
    for block in _LINES.finditer(text):
        if block.start() < done:
            continue
        lines = [line.strip(" \t>|") for line in block.group().splitlines()]
        last = _LAST_LINE.match(text, block.end())
        end = last.end() if last else block.end() - block.group().endswith("\n")
        placeholder = _placeholder(text[block.start() : end], lines, found)
        parts += [text[done : block.start()], placeholder]
        done = end
    return "".join([*parts, text[done:]])


def _placeholder(written: str, lines: list[str], found: Counter[str]) -> str:
    if not _is_blob(lines):
        return written
    found["embedded data"] += 1
    return _DATA


def _is_blob(lines: list[str]) -> bool:
    data = "".join(lines).rstrip("=")
    widths = {len(line) for line in lines[:-1]}
    if len(data) < _MIN_BLOB_CHARS or len(widths) > 1:
        return False
    if _HEX.fullmatch(data):
        # A list of digests is something that people look up.
        return not widths & _DIGEST_CHARS and len(set(data.lower())) > 2
    digits, upper, lower = (sum(map(test, data)) / len(data) for test in (str.isdigit, str.isupper, str.islower))
    separators = sum(map(data.count, "+/-_")) / len(data)
    is_mixed = digits > _MIN_DIGITS and upper > _MIN_CASE and lower > _MIN_CASE
    is_long = len(data) > _NO_WORD_CHARS and upper > 0 and max(digits, lower) > 0
    return (is_mixed or is_long) and separators < _MAX_SEPARATORS


def _label(text: str) -> str:
    return " ".join(text.split()).casefold()


def _alt(tag: str) -> str:
    found = _ALT.search(tag)
    return (found[1] or found[2] or "") if found else ""
