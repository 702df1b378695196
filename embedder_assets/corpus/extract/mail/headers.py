"""The headers of a mail, read as they are in the file.

The parsers of the library's newer policies fail on some that mail programs write, and their time grows with the square
of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

from embedder_assets.corpus.extract.extracted import Value, keyword_list

MAX_HEADER_CHARS = 20_000
_ENCODED_WORD = re.compile(r"=\?[^?]{1,40}\?[bq]\?", re.IGNORECASE)
_SPECIAL = re.compile(r'[\][\\()<>@,:;"]')
_SPECIAL_IN_QUOTES, _BACKSLASHED = re.compile(r'([\\"])'), r"\\\1"
_ID_HEADERS = ("message-id", "in-reply-to", "references")


class Headers:
    """The headers of a mail that say something to its readers.

    Attributes:
        values: Text of each header, by its name in lower case.
        shortened: Names of those that were longer than is read.
    """

    def __init__(self, values: dict[str, str], shortened: list[str]) -> None:
        self.values = values
        self.shortened = shortened

    @classmethod
    def of(cls, message: Message) -> Headers:
        """Those of a parsed message, the first of each name."""
        raw = {name.lower(): str(value) for name, value in reversed(list(message.raw_items()))}
        values = {name: unfolded(value[:MAX_HEADER_CHARS]) for name, value in raw.items()}
        return cls(values, [name for name in ("to", "cc", "subject") if len(raw.get(name, "")) > MAX_HEADER_CHARS])

    @property
    def subject(self) -> str:
        """The subject, the words that it was encoded in decoded."""
        return decoded_words(self.values.get("subject", ""))

    def addresses(self, name: str) -> list[str]:
        """The addresses of a header, each with the name of the person if it has one."""
        try:
            pairs = getaddresses([self.values.get(name, "")])
        except RecursionError:  # comments in comments
            return [self.values[name]]
        return [address_line(decoded_words(person), address) for person, address in pairs if person or address]

    @property
    def date(self) -> str:
        """When the mail was sent, in ISO 8601; empty where that is not said."""
        try:
            return parsedate_to_datetime(self.values.get("date", "")).isoformat()
        except (TypeError, ValueError, OverflowError):
            return ""

    def metadata(self) -> dict[str, Value]:
        """What the headers say, as fields; ``thread`` is the id of the mail that began the conversation."""
        ids = {name: re.findall(r"<[^<>\s]+>", self.values.get(name, "")) for name in _ID_HEADERS}
        own, parents, references = (ids[name] for name in _ID_HEADERS)
        fields: dict[str, Value] = {
            "created": self.date,
            "from": ", ".join(self.addresses("from")),
            "to": self.addresses("to"),
            "cc": self.addresses("cc"),
            "message_id": own[0] if own else "",
            "in_reply_to": parents[0] if parents else "",
            "thread": next(iter([*references, *parents, *own]), ""),
            "language": self.values.get("content-language", "").strip(),
            "keywords": keyword_list(decoded_words(self.values.get("keywords", ""))),
        }
        return {name: value for name, value in fields.items() if value}

    def lines(self) -> Iterator[str]:
        """Lines for the top of the text."""
        if self.subject:
            yield f"Subject: {self.subject}"
        for name in ("from", "to", "cc"):
            if addresses := self.addresses(name):
                yield f"{name.title()}: {', '.join(addresses)}"
        if date := self.date or self.values.get("date", "").strip():
            yield f"Date: {date}"


def decode_leniently(data: bytes, declared: str | None) -> tuple[str, int]:
    """Text of a part whose encoding is declared, or is to be guessed, and how many characters were lost."""
    for encoding in (declared, "utf-8"):
        try:
            return data.decode(encoding or "utf-8"), 0
        except (LookupError, UnicodeError, ValueError):
            continue
    text = data.decode("cp1252", "replace")
    return text, text.count("\ufffd")


def unfolded(value: str) -> str:
    """A header on one line, with bytes beyond ASCII as the text that they most likely are."""
    raw = value.encode("ascii", "surrogateescape") if value.isascii() or _has_escapes(value) else value.encode()
    return " ".join(decode_leniently(raw, None)[0].split())


def _has_escapes(value: str) -> bool:
    return all(ord(character) < 128 or "\udc80" <= character <= "\udcff" for character in value)


def decoded_words(value: str) -> str:
    """Text with its encoded words (RFC 2047) decoded; what is none stays as it is."""
    if not _ENCODED_WORD.search(value):
        return value
    try:
        parts = decode_header(value)
    except ValueError:  # also email.errors.HeaderParseError
        return value
    texts = [part if isinstance(part, str) else decode_leniently(part, charset)[0] for part, charset in parts]
    return " ".join("".join(texts).split())


def address_line(person: str, address: str) -> str:
    """An address with the name of the person, in quotation marks where something in it would end it."""
    if not person or not address:
        return person or address
    name = f'"{_SPECIAL_IN_QUOTES.sub(_BACKSLASHED, person)}"' if _SPECIAL.search(person) else person
    return f"{name} <{address}>"
