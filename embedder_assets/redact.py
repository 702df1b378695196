"""Secrets that a setting or a message may carry, and how they are left out of everything that is shown or stored."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from pydantic import BeforeValidator
from pydantic_core import CoreSchema, core_schema

from embedder_assets.plain import one_line

if TYPE_CHECKING:
    from urllib.request import Request

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
