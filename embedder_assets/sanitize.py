r"""Text from outside, made harmless before a person reads it: on a terminal, in a log, in Dagster's UI.

Two things are taken out of it: what a terminal obeys (``plain``), and secrets (``redact``); ``safe_line`` does both.

Names, titles, documents, answers of servers and model files are written by others. What a terminal obeys, what turns
the order of a line around and what nobody can see is shown as an escape, such as ``\x1b`` or ``\u202e``; text of any
script stays as it is, with its marks, joiners and emoji.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from pydantic import BeforeValidator
from pydantic_core import CoreSchema, core_schema

if TYPE_CHECKING:
    from urllib.request import Request

# Categories: control, surrogate, line and paragraph separator, format. Of the last, what follows below may stay.
_UNSAFE = {"Cc", "Cs", "Zl", "Zp", "Cf"}
# Signs that are written, though Unicode calls them format: Arabic, Syriac and Kaithi number and end marks.
_WRITTEN = {*map(chr, range(0x600, 0x606)), *"\u06dd\u070f\u08e2\U000110bd\U000110cd", "\u0890", "\u0891"}
# Invisible, and part of how Persian, Indic scripts, Thai, Hebrew and emoji are written: they stay behind a character
# of such a script, one at a time. Anywhere else they only hide something.
_JOINERS = set("\u200b\u200c\u200d\u200e\u200f\u061c\u2060\u00ad\u034f")
_SELECTORS = {*map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0)), *"\u180b\u180c\u180d\u180f"}
_KEYCAPS = set("0123456789#*")
# Letters and symbols without a shape.
_BLANK = set("\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# The flags of England, Scotland and Wales are the only use of tag characters.
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]{3,6}\U000e007f")
# More marks on one letter than any language has grow over the lines above and below.
_MARKS = 6
_SPACES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_ACTIVE_MARKDOWN = re.compile(r"([\\\[\]<])")
_ESCAPED_MARKDOWN = re.compile(r"\\([\\\[\]<])")
_FIRST_OF_ASTRAL = 0x10000


def plain(text: str) -> str:
    """A text on one line that shows what it holds and does nothing: every unsafe character as an escape.

    Doing it twice changes nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    parts: list[str] = []
    end = 0
    for flag in _FLAG.finditer(text):
        parts += [_shown(text[end : flag.start()]), flag[0]]
        end = flag.end()
    return "".join([*parts, _shown(text[end:])])


def one_line(text: str) -> str:
    """A message of several lines on one, each stretch of white space as a blank; otherwise as ``plain``."""
    return plain(" ".join(text.split()))


def plain_json(text: str, *, only_ascii: bool = False) -> str:
    """JSON in which every character of an unsafe category is an escape of JSON; it still means the same.

    Args:
        text: JSON, possibly on several lines.
        only_ascii: Every other character is an escape too.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    stays = str.isascii if only_ascii else bool
    return "".join(
        each if each == "\n" or (stays(each) and unicodedata.category(each) not in _UNSAFE) else _json_escape(each)
        for each in text
    )


def inert_markdown(text: str) -> str:
    """Lines that Dagster's UI renders as Markdown, without images, links and HTML."""
    return "\n".join(_ACTIVE_MARKDOWN.sub(r"\\\1", plain(line)) for line in text.split("\n"))


def of_markdown(text: str) -> str:
    """What ``inert_markdown`` was made of."""
    return _ESCAPED_MARKDOWN.sub(r"\1", text)


def _shown(text: str) -> str:
    parts: list[str] = []
    marks = 0
    before = ""
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if character in _JOINERS:
            stays = _joinable(before)
        elif character in _SELECTORS:
            stays = before not in _SELECTORS and (_joinable(before) or before in _KEYCAPS)
        else:
            stays = not ((category in _UNSAFE and character not in _WRITTEN) or character in _BLANK or marks > _MARKS)
        parts.append(character if stays else _escape(character))
        before = character
    return "".join(parts)


def _joinable(before: str) -> bool:
    """Whether an invisible character may follow: behind a visible one that is no ASCII."""
    if before == "" or before.isascii() or before in _JOINERS:
        return False
    return unicodedata.category(before)[0] in "LMNPS" and before not in _BLANK


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SPACES:
        return _SPACES[character]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _FIRST_OF_ASTRAL else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < _FIRST_OF_ASTRAL:
        return f"\\u{code:04x}"
    code -= _FIRST_OF_ASTRAL
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


# From here on: secrets.
HIDDEN = "***"
# user:password@, or a token@, behind the scheme; a password may hold anything but white space and quotes.
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@:'\"<>]*:[^\s'\"<>@]*|[^\s/?#@:'\"<>]+)(?:@[^\s/?#'\"<>@]*)*@")
# The same where the text is one URL: no quote ends it.
_OWN_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#@:]*:[^\s@]*|[^\s/?#@:]+)(?:@[^\s/?#@]*)*@")
_SECRET_NAME = re.compile(
    r"(?i)pass(?:wd|word|phrase)?|pwd|secret|token|auth|api[-_.]?key|access[-_.]?key|credential|signature|^key$|^sig$"
)
_PARAMETER = re.compile(r"(?<=[?&;#])([^\s=&?#;'\"<>]+)=([^\s&#;'\"<>]+)")
# Of the same length as what people take for a password; a shorter one would hide ordinary words by chance.
_SHORTEST_KNOWN = 6
_known: set[str] = set()


def redact(text: str) -> str:
    """A text without the passwords of URLs in it, and without any secret that a ``SecretUrl`` of this process has."""
    # The longest first: one may be a part of another. Before the patterns, which see less of one with a quote in it.
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _PARAMETER.sub(_parameter, text) if "=" in text else text


def safe_line(text: str) -> str:
    """A message for logs and people: on one line, without secrets, and with nothing in it that a terminal obeys."""
    return one_line(redact(text))


def _parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={HIDDEN}" if _SECRET_NAME.search(found[1]) else found[0]


class SecretUrl:
    """A URL that may carry a password or a token. Printing it in any way shows it without; ``reveal`` gives all of it.

    Args:
        url: As it was written.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url
        _known.update(_secrets_of(url))

    def __str__(self) -> str:
        return redact(_OWN_USER_INFO.sub(f"{HIDDEN}@", self._url))

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        # Where it is written somewhere, it is written as it is shown.
        return core_schema.is_instance_schema(cls, serialization=core_schema.to_string_ser_schema())

    def reveal(self) -> str:
        """The URL as it was written."""
        return self._url

    @property
    def address(self) -> str:
        """The URL without user and password; its query is whole."""
        return _OWN_USER_INFO.sub("", self._url)

    @property
    def shareable(self) -> str:
        """A link that others may have: without user and password, and without secrets in its query."""
        return redact(self.address)

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password, if it has them."""
        found = _OWN_USER_INFO.search(self._url)
        if found is None:
            return None
        user, _, password = found[0].removesuffix("@").partition(":")
        return unquote(user), unquote(password)

    def request(self) -> Request:
        """What urllib asks for, which knows no user and password in a URL."""
        from urllib.request import Request

        request = Request(self.address)
        if self.login is not None:
            request.add_header("Authorization", f"Basic {b64encode(':'.join(self.login).encode()).decode()}")
        return request


def secret_url(pattern: str) -> BeforeValidator:
    """Makes a field of pydantic's a ``SecretUrl`` that matches a pattern."""

    def check(value: object) -> object:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return SecretUrl(value)
        if isinstance(value, SecretUrl):
            return value
        raise ValueError(f"a URL that matches {pattern}")

    return BeforeValidator(check)


def _secrets_of(url: str) -> set[str]:
    """The parts of a URL that a message may quote without the rest of it, as written and decoded."""
    found = {each.rstrip("@").partition(":")[2] or each.rstrip("@") for each in _OWN_USER_INFO.findall(url)}
    query = re.split(r"[?#]", url, maxsplit=1)[-1].replace("#", "&")
    found |= {value for name, value in re.findall(r"([^=&;]+)=([^&;]+)", query) if _SECRET_NAME.search(name)}
    found |= {value for name, value in parse_qsl(query) if _SECRET_NAME.search(name)}
    found |= {unquote(each) for each in found}
    return {each for each in found if len(each) >= _SHORTEST_KNOWN}
