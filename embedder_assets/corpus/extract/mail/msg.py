"""Mails as Outlook saves them (MS-OXMSG): made into one as it is sent, and read like that.

``olefile`` reads the compound file; a property is a stream that is named after its id and its type.
"""

from __future__ import annotations

import email
import io
import re
import struct
from base64 import encodebytes
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.message import Message
from email.utils import format_datetime
from typing import TYPE_CHECKING

from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.mail.eml import extract_message
from embedder_assets.corpus.extract.mail.headers import address_line, decode_leniently
from embedder_assets.corpus.extract.mail.mail_text import encrypted
from embedder_assets.errors import DocumentError

if TYPE_CHECKING:
    from olefile import OleFileIO

_STREAM = "__substg1.0_"
_MAX_LEVELS = 5  # each level is a third larger than the one inside
_TOKEN = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_KEPT = {
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "keywords",
    "content-language",
}
# Property ids (MS-OXPROPS).
_CLASS, _SUBJECT, _HEADERS, _BODY, _HTML, _RTF = "001A", "0037", "007D", "1000", "1013", "1009"
_SENDER_NAME, _SENDER_ADDRESSES, _SHOWN_TO = "0C1A", ("5D01", "0C1F"), "0E04"
_MESSAGE_ID, _IN_REPLY_TO, _REFERENCES = "1035", "1042", "1039"
_NAME, _ADDRESSES, _RECIPIENT_TYPE = "3001", ("39FE", "3003"), 0x0C15
_SENT, _DELIVERED, _CODEPAGE, _HTML_CODEPAGE = 0x0039, 0x0E06, 0x3FFD, 0x3FDE
_DATA, _FILE_NAMES, _MEDIA_TYPE, _CONTENT_ID = "3701", ("3707", "3704", "3001"), "370E", "3712"


def extract_msg(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a mail of Outlook into text.

    Raises:
        DocumentError: With kind ``unreadable_mail`` or ``encrypted_mail``.
    """
    from olefile import OleFileIO
    from olefile.olefile import OleFileError

    try:
        with OleFileIO(io.BytesIO(data)) as file:
            item = _Item(file)
            if not item.has_properties:
                raise _unreadable(thing, "a file of another program")
            if item.text(_CLASS).upper() == "IPM.NOTE.SMIME":
                raise encrypted(thing, "a mail that is encrypted (S/MIME)")
            lost = item.has(_RTF) and not item.has(_BODY) and not item.has(_HTML)
            extracted = extract_message(_mail(item, 0), thing, limits)
    except (OleFileError, OSError, OverflowError, ValueError, struct.error) as error:
        raise _unreadable(thing, f"{type(error).__name__}: {error}") from error
    detail = "It is there as RTF alone. Open the mail in Outlook, and save it as text or HTML."
    rtf = (Omission("body of a mail", 1, detail),) if lost else ()
    return Extracted(**{**vars(extracted), "omissions": (*extracted.omissions, *rtf)})


def _mail(item: _Item, level: int) -> Message:
    """What a storage holds, as a mail that is sent."""
    mail = Message()
    for name, value in _headers(item).items():
        mail[name] = value
    mail["Content-Type"] = "multipart/mixed"
    bodies = Message()
    bodies["Content-Type"] = "multipart/alternative"
    bodies.set_payload([])
    if item.has(_BODY):
        bodies.attach(_part("text/plain; charset=utf-8", item.text(_BODY).encode()))
    if item.has(_HTML):
        bodies.attach(_part("text/html; charset=utf-8", item.html().encode()))
    mail.set_payload([bodies])
    for attachment in item.below("__attach_version1.0_"):
        mail.attach(_attachment(attachment, level))
    return mail


def _headers(item: _Item) -> dict[str, str]:
    """The headers that it came with, and where it has none those that its properties make."""
    sent = email.message_from_string(item.text(_HEADERS))
    found = {name.title(): str(value) for name, value in reversed(list(sent.raw_items())) if name.lower() in _KEPT}
    people: dict[int, list[str]] = {}
    for each in item.below("__recip_version1.0_"):
        people.setdefault(each.number(_RECIPIENT_TYPE), []).append(
            address_line(each.text(_NAME), each.first(_ADDRESSES))
        )
    date = item.date(_SENT) or item.date(_DELIVERED)
    made = {
        "Subject": item.text(_SUBJECT),
        "From": address_line(item.text(_SENDER_NAME), item.first(_SENDER_ADDRESSES)),
        "To": ", ".join(filter(None, people.get(1, []))) or item.text(_SHOWN_TO),
        "Cc": ", ".join(filter(None, people.get(2, []))),
        "Date": format_datetime(date) if date else "",
        "Message-Id": item.text(_MESSAGE_ID),
        "In-Reply-To": item.text(_IN_REPLY_TO),
        "References": item.text(_REFERENCES),
    }
    return {name: _ascii(value) for name, value in {**made, **found}.items() if value.strip()}


def _attachment(item: _Item, level: int) -> Message:
    name = item.first(_FILE_NAMES)
    inner = item.storage(_DATA)
    if inner is not None and level < _MAX_LEVELS:
        return _part("message/rfc822", _mail(inner, level + 1).as_bytes())
    media_type, content_id = item.text(_MEDIA_TYPE).lower(), _ascii(item.text(_CONTENT_ID))
    part = _part(media_type if _TOKEN.fullmatch(media_type) else "application/octet-stream", item.data(_DATA))
    if content_id:
        part["Content-ID"] = content_id
    part.add_header(
        "Content-Disposition", "inline" if content_id else "attachment", filename=("utf-8", "", name or "mail")
    )
    return part


def _part(media_type: str, data: bytes) -> Message:
    part = Message()
    part["Content-Type"] = media_type
    part["Content-Transfer-Encoding"] = "base64"
    part.set_payload(encodebytes(data).decode())
    return part


class _Item:
    """A storage with properties: a mail, an attachment, or somebody who got it.

    Args:
        file: The compound file.
        path: Of the storage in it.
        tree: Names in each storage of the file; they are listed by default.
    """

    def __init__(
        self, file: OleFileIO, path: tuple[str, ...] = (), tree: dict[tuple[str, ...], set[str]] | None = None
    ):
        if tree is None:
            tree = defaultdict(set)
            for each in file.listdir(streams=True, storages=True):
                tree[tuple(each[:-1])].add(each[-1])
        self._file, self._path, self._tree = file, path, tree
        self._names = tree.get(path, set())
        fixed = self._stream("__properties_version1.0")
        # 32 bytes stand in front of those of a file, 24 of a mail in it, 8 of anything else (MS-OXMSG 2.4.1).
        is_mail = path[-1:] and path[-1].startswith(f"{_STREAM}{_DATA}")
        start = 24 if is_mail else 8 if path else 32
        self._fixed = {tag >> 16: value for tag, value in _fixed_properties(fixed[start:])}

    @property
    def has_properties(self) -> bool:
        """Whether it has the stream that every mail has."""
        return "__properties_version1.0" in self._names

    def has(self, key: str) -> bool:
        """Whether a property is a stream with something in it."""
        return bool(self.data(key).strip(b"\0"))

    def data(self, key: str) -> bytes:
        """The bytes of a property, of whatever type."""
        return next((self._stream(f"{_STREAM}{key}{kind}") for kind in self._kinds(key)), b"")

    def text(self, key: str) -> str:
        """The text of a property, empty if there is none."""
        kind = next(iter(self._kinds(key)), "")
        data = self._stream(f"{_STREAM}{key}{kind}") if kind else b""
        if kind == "001F":
            return data.decode("utf-16-le", "replace").rstrip("\0")
        return decode_leniently(data, self._codepage(_CODEPAGE))[0].rstrip("\0")

    def html(self) -> str:
        """The body as HTML."""
        if "001F" in self._kinds(_HTML):
            return self.text(_HTML)
        return decode_leniently(self.data(_HTML), self._codepage(_HTML_CODEPAGE))[0]

    def first(self, keys: tuple[str, ...]) -> str:
        """The first of some properties that has a text."""
        return next((text for text in map(self.text, keys) if text.strip()), "")

    def number(self, key: int) -> int:
        """A property that is a number, 0 if there is none."""
        return int(struct.unpack("<I4x", self._fixed.get(key, bytes(8)))[0])

    def date(self, key: int) -> datetime | None:
        """A property that is a time; it counts in units of 100 nanoseconds from 1601 on."""
        (ticks,) = struct.unpack("<Q", self._fixed.get(key, bytes(8)))
        try:
            return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10) if ticks else None
        except OverflowError:
            return None

    def below(self, prefix: str) -> Iterator[_Item]:
        """The storages in it whose names begin so."""
        for name in sorted(self._names):
            if name.startswith(prefix):
                yield _Item(self._file, (*self._path, name), self._tree)

    def storage(self, key: str) -> _Item | None:
        """A property that is a storage: a mail in a mail."""
        name = f"{_STREAM}{key}000D"
        return _Item(self._file, (*self._path, name), self._tree) if name in self._names else None

    def _kinds(self, key: str) -> list[str]:
        return [kind for kind in ("001F", "001E", "0102") if f"{_STREAM}{key}{kind}" in self._names]

    def _codepage(self, key: int) -> str | None:
        number = self.number(key)
        return {65001: "utf-8", 20127: "ascii"}.get(number, f"cp{number}") if number else None

    def _stream(self, name: str) -> bytes:
        return self._file.openstream([*self._path, name]).read() if name in self._names else b""


def _fixed_properties(data: bytes) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(data) - 15, 16):
        (tag,) = struct.unpack_from("<I", data, start)
        yield tag, data[start + 8 : start + 16]


def _ascii(value: str) -> str:
    """A header on one line, with what is beyond ASCII encoded."""
    line = " ".join(value.split())
    return line if line.isascii() and line.isprintable() else Header(line, "utf-8", maxlinelen=10**9).encode()


def _unreadable(thing: str, got: str) -> DocumentError:
    remedy = "Save it again in Outlook, or remove it."
    return DocumentError(thing, kind="unreadable_mail", expected="a mail of Outlook", got=got, remedy=remedy)
