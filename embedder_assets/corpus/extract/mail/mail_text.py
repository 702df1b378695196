"""What is in a mail: its text, the files that become documents of their own, and what is left out."""

from __future__ import annotations

import email
import re
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import PurePosixPath

from embedder_assets.corpus.document import MEDIA_TYPES, PLAIN
from embedder_assets.corpus.extract.extracted import Attachment, Extracted, Omission
from embedder_assets.corpus.extract.html import markdown_of_html
from embedder_assets.corpus.extract.html.encoding import declared_label
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.mail.headers import (
    MAX_HEADER_CHARS,
    Headers,
    decode_leniently,
    decoded_words,
    unfolded,
)
from embedder_assets.errors import DocumentError

MAX_BODY_PARTS = 200
MAX_ATTACHMENTS = 200  # of one file, with those of the mails in it
_MAX_NAMED = 10
_MAX_NAME_CHARS = 150
_MAX_PART_LEVELS = 100
_SUFFIX_OF_TYPE = {PLAIN: ".txt", "message/rfc822": ".eml"} | {
    media_type: suffix for suffix, media_type in reversed(MEDIA_TYPES.items()) if media_type != PLAIN
}
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
_MARKDOWN_LINE = re.compile(r"^( {0,3})(#{1,6}(?:[ \t]|$)|(?:=+|-+)[ \t]*$)", re.MULTILINE)
_CALENDAR_FIELD = re.compile(r"^(SUMMARY|DTSTART|DTEND|LOCATION|ORGANIZER|ATTENDEE|DESCRIPTION)([;:].*)$", re.MULTILINE)
_CALENDAR_TIME = re.compile(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)\d*")


class MailText:
    """Collects what is in a mail: its text, the files that become documents, and what is left out.

    Args:
        headers: Of the mail.
        thing: The name of the document for messages.
        limits: What it may cost.
    """

    def __init__(self, headers: Headers, thing: str, limits: DocumentLimits) -> None:
        self._headers = headers
        self._thing = thing
        self._limits = limits
        self._texts: list[tuple[str, bool]] = []
        self._attachments: dict[str, bytes] = {}
        self._left_out: list[str] = []
        self._surplus = 0
        self._counts: Counter[str] = Counter()

    def read(self, message: Message) -> Extracted:
        """The whole mail."""
        self._part(message, 0)
        return self.extracted()

    def extracted(self) -> Extracted:
        """What was collected."""
        said = "\n\n".join(text for text, _ in self._texts).strip()
        if said.startswith("-----BEGIN PGP MESSAGE-----"):
            raise encrypted(self._thing, "text that is encrypted with PGP")
        is_markdown = any(is_markdown for _, is_markdown in self._texts)
        texts = [_escaped(text) if is_markdown and not as_it_is else text for text, as_it_is in self._texts]
        head = [*self._headers.lines(), *self._names()]
        text = "\n\n".join(part.strip("\n") for part in ("\n".join(head), *texts) if part.strip()) + "\n"
        return Extracted(
            text.replace("\0", ""),
            self._headers.subject,
            self._headers.metadata(),
            tuple(self._omissions()),
            attachments=tuple(Attachment(name, data) for name, data in self._attachments.items()),
            plain=not is_markdown,
        )

    def _names(self) -> list[str]:
        names = [*self._attachments, *(each.split(" (")[0] for each in self._left_out)]
        return [f"Attachments: {', '.join(names[:MAX_ATTACHMENTS])}"] if names else []

    def _omissions(self) -> Iterator[Omission]:
        if self._left_out or self._surplus:
            named, more = self._left_out[:_MAX_NAMED], len(self._left_out) - _MAX_NAMED
            named += [f"{more} more"] if more > 0 else []
            named += [f"{self._surplus} beyond the first {MAX_ATTACHMENTS} that can be read"] if self._surplus else []
            yield Omission("attachment", len(self._left_out) + self._surplus, f"{', '.join(named)}.")
        for part, count in self._counts.items():
            yield Omission(part, count)
        for name in self._headers.shortened:
            yield Omission("rest of a header", 1, f"{name.title()} ends after {MAX_HEADER_CHARS:,} characters.")

    def _part(self, part: Message, level: int) -> None:
        content_type = part.get_content_type()
        children = [child for child in part.get_payload() if isinstance(child, Message)] if part.is_multipart() else []
        if level > _MAX_PART_LEVELS:
            self._counts["part of a mail"] += 1
        elif content_type == "multipart/alternative":
            self._alternative(children, level)
        elif content_type.startswith("multipart/"):
            for child in children:
                self._part(child, level + 1)
        elif content_type in _SIGNATURES:
            return
        elif content_type == "message/delivery-status" and children:
            self.add_text("\n\n".join(map(_header_lines, children)))
        elif content_type == "message/disposition-notification":
            self.add_text(self._decoded(part))
        elif content_type == "message/rfc822":
            inner = payload_of(part)
            subject = re.sub(r"[/\\:]+", "-", Headers.of(email.message_from_bytes(_head(inner))).subject)
            self.add_file(_file_name(part) or f"{subject or 'message'}.eml", content_type, inner)
        elif content_type.startswith("text/") and not _is_file(part):
            self._body(part, content_type)
        else:
            self._file(part, content_type)

    def _alternative(self, children: list[Message], level: int) -> None:
        """Takes the last alternative that has text, which says most (RFC 2046, 5.1.4), and each invitation."""
        calendars = [child for child in children if child.get_content_type() == "text/calendar"]
        for child in reversed(children):
            known = child.get_content_type() in {"text/plain", "text/html"} or child.is_multipart()
            before = len(self._texts)
            if known:
                self._part(child, level + 1)
            if len(self._texts) > before:
                break
        for child in calendars:
            self._part(child, level + 1)

    def _body(self, part: Message, content_type: str) -> None:
        if len(self._texts) >= MAX_BODY_PARTS:
            self._counts["part of a mail"] += 1
            return
        text = self._decoded(part)
        if content_type == "text/html":
            try:
                self.add_text(markdown_of_html(text, self._thing, self._limits), is_markdown=True)
            except DocumentError:  # too deep; another version of the text may be there
                self._counts["part of a mail"] += 1
        elif content_type == "text/calendar":
            self.add_text(_calendar(text))
        else:
            self.add_text(text)

    def _decoded(self, part: Message) -> str:
        data = payload_of(part)
        declared = _parameter(part, "charset", "content-type") or None
        if declared is None and part.get_content_type() == "text/html":
            declared = declared_label(data)
        text, lost = decode_leniently(data, declared)
        if lost:
            self._counts["character in an unknown encoding"] += lost
        return text

    def add_text(self, text: str, *, is_markdown: bool = False) -> None:
        """Takes a part of what the mail says."""
        if text.strip():
            self._texts.append((text.replace("\r\n", "\n").replace("\r", "\n"), is_markdown))

    def _file(self, part: Message, content_type: str) -> None:
        name = _file_name(part)
        is_shown = part.get_content_disposition() == "inline" or (part["content-id"] and not name)
        if content_type.startswith("image/") and (is_shown or part.get_content_disposition() is None):
            self._counts["embedded image"] += 1
            return
        self.add_file(name, content_type, payload_of(part))

    def add_file(self, name: str, content_type: str, data: bytes) -> None:
        """Takes a file that came with the mail, if it is of a format that documents have."""
        name = clean_name(name)
        suffix = PurePosixPath(name).suffix.lower()
        by_type = _SUFFIX_OF_TYPE.get(content_type, ".txt" if content_type.startswith("text/") else "")
        if suffix not in MEDIA_TYPES and by_type:
            name += by_type
        elif suffix not in MEDIA_TYPES:
            self._left_out.append(f"{name} ({content_type}, {_size(len(data))})")
            return
        if len(self._attachments) >= MAX_ATTACHMENTS:
            self._surplus += 1
            return
        self._attachments[_unique(name, self._attachments)] = data


def clean_name(name: str) -> str:
    """A name as the last part of a document's id: without folders, control characters and endless length."""
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(character if character.isprintable() else " " for character in last)
    cleaned = " ".join(printable.split()).strip(". ") if set(printable) <= {".", " "} else " ".join(printable.split())
    if not cleaned:
        return "attachment"
    suffix = PurePosixPath(cleaned).suffix[:20]
    return cleaned if len(cleaned) <= _MAX_NAME_CHARS else cleaned[: _MAX_NAME_CHARS - len(suffix)] + suffix


def encrypted(thing: str, got: str) -> DocumentError:
    """The error of a mail that only its owner can read."""
    remedy = "Decrypt it in the mail program of its owner and save it again, or remove it."
    return DocumentError(thing, kind="encrypted_mail", expected="a mail that anybody can read", got=got, remedy=remedy)


def payload_of(part: Message) -> bytes:
    """The bytes of a part, its transfer encoding undone."""
    try:
        data = part.get_payload(decode=True)
    except ValueError:  # of the charset, which is none of its business
        part.del_param("charset")
        data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _head(mail: bytes) -> bytes:
    """The headers of a mail."""
    return re.split(rb"\r?\n\r?\n", mail.lstrip(), maxsplit=1)[0]


def _parameter(part: Message, name: str, header: str) -> str:
    """A parameter of a header, empty where the library cannot make one of it."""
    try:
        return collapse_rfc2231_value(part.get_param(name, "", header) or "")
    except (LookupError, ValueError):
        return ""


def _is_file(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(_file_name(part))


def _file_name(part: Message) -> str:
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        found = _parameter(part, parameter, header)
        if found:
            return decoded_words(unfolded(found))
    return ""


def _header_lines(message: Message) -> str:
    return "\n".join(f"{name}: {decoded_words(unfolded(str(value)))}" for name, value in message.raw_items())


def _calendar(text: str) -> str:
    """The fields of an invitation (RFC 5545) that people read, one on a line."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    unescape = {"\\n": "\n", "\\N": "\n", "\\,": ",", "\\;": ";", "\\\\": "\\"}
    lines = []
    for name, rest in _CALENDAR_FIELD.findall(unfolded):
        value = re.sub(r"\\[nN,;\\]", lambda match: unescape[match[0]], rest.partition(":")[2].strip())
        value = _CALENDAR_TIME.sub(r"\1-\2-\3 \4:\5", value) if name.startswith("DT") else value
        lines.append(f"{name.removeprefix('DT').capitalize()}: {value}")
    return "\n".join(lines) or text


def _escaped(text: str) -> str:
    """Plain text for a Markdown document: its lines are no headings, and do not make one of the line above."""
    return _MARKDOWN_LINE.sub(lambda match: f"{match[1]}\\{match[2]}", text)


def _unique(name: str, taken: dict[str, bytes]) -> str:
    """A name that is not taken: ``report.pdf``, ``report (2).pdf``."""
    path, number, found = PurePosixPath(name), 1, name
    while found in taken:
        number += 1
        found = f"{path.stem} ({number}){path.suffix}"
    return found


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1000:.1f} kB"
