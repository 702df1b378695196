"""Mails as they are sent (RFC 5322)."""

from __future__ import annotations

import email
from email.message import Message

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.corpus.extract.mail.headers import Headers
from embedder_assets.corpus.extract.mail.mail_text import MailText, encrypted
from embedder_assets.errors import DocumentError

_HEADERS = ("from", "to", "subject", "date", "message-id", "received", "content-type", "mime-version", "return-path")
_SECRET = {"application/pkcs7-mime", "application/x-pkcs7-mime"}


def extract_eml(data: bytes, thing: str, limits: DocumentLimits) -> Extracted:
    """Turn a mail into text; it is Markdown where a part of it is HTML.

    Raises:
        DocumentError: With kind ``encrypted_mail``, ``unreadable_mail`` or ``too_deep``.
    """
    message = email.message_from_bytes(data.removeprefix(b"\xef\xbb\xbf").lstrip(), _class=_Part)
    if not any(name in message for name in _HEADERS):
        remedy = "Save it again as a mail in its own application, or remove it."
        got = "no header of a mail"
        raise DocumentError(thing, kind="unreadable_mail", expected="a mail (RFC 5322)", got=got, remedy=remedy)
    return extract_message(message, thing, limits)


class _Part(Message):
    """A mail or a part of it; a mail inside stays the bytes that it is, however deep others are in it."""

    def get_content_maintype(self) -> str:
        """What the parser asks before it reads what is inside."""
        found = super().get_content_maintype()
        return "application" if found == "message" else found


def extract_message(message: Message, thing: str, limits: DocumentLimits) -> Extracted:
    """The same of a mail that is parsed.

    Raises:
        DocumentError: With kind ``encrypted_mail``.
    """
    _refuse_encrypted(message, thing)
    return MailText(Headers.of(message), thing, limits).read(message)


def _refuse_encrypted(message: Message, thing: str) -> None:
    content_type = message.get_content_type()
    if content_type == "multipart/encrypted":
        raise encrypted(thing, "a mail that is encrypted")
    if content_type in _SECRET:
        kind = message.get_param("smime-type")
        signed = isinstance(kind, str) and kind.lower() == "signed-data"
        raise encrypted(thing, "a mail inside a signature (S/MIME)" if signed else "a mail that is encrypted (S/MIME)")
