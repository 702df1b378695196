"""The encoding of a page: that of its byte order mark, else UTF-8, else what it declares."""

from __future__ import annotations

import re

from embedder_assets.corpus.extract.extracted import Omission
from embedder_assets.corpus.extract.plain import codec_of, decode
from embedder_assets.errors import DocumentError

_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_DECLARED = re.compile(
    rb"<meta[\s/][^>]{0,1000}?charset\s*=\s*[\"']?\s*([^\s\"'/>;]+)|<\?xml[^>]{0,1000}?encoding\s*=\s*[\"']([^\"']+)",
    re.IGNORECASE,
)
_DECLARATION_BYTES = 65_536  # browsers look at 1024, and once more when they meet a later one
_SEVEN_BITS = {"iso2022_jp", "iso2022_kr", "hz"}  # all of it is valid UTF-8, which says something else
_MAX_REPLACED_SHARE = 0.01  # of the characters; beyond it the label is wrong


def decode_page(data: bytes, thing: str) -> tuple[str, tuple[Omission, ...]]:
    """Decode a page; a label means what browsers mean by it (``codec_of``).

    Many a page declares another encoding than the UTF-8 that it is in, so that is tried first.

    Returns:
        The text with U+FFFD for bytes that are no text in the declared encoding, and how many there are.

    Raises:
        DocumentError: With kind ``binary`` or ``not_utf8``.
    """
    label = declared_label(data)
    codec = codec_of(label) if label else None
    if codec in _SEVEN_BITS and data.isascii():
        return _replacing(data, codec)
    try:
        return decode(data, thing, label), ()
    except DocumentError as error:
        if error.kind != "not_utf8" or codec is None:
            raise
        text, omissions = _replacing(data, codec)
        if omissions and omissions[0].count > max(1, _MAX_REPLACED_SHARE * len(text)):
            raise
        return text, omissions


def declared_label(data: bytes) -> str | None:
    """The encoding that a page says it is in, as it writes it."""
    found = _DECLARED.search(_COMMENT.sub(b"", data[:_DECLARATION_BYTES]))
    return (found[1] or found[2]).decode("ascii", "replace") if found else None


def _replacing(data: bytes, codec: str) -> tuple[str, tuple[Omission, ...]]:
    text = data.decode(codec, "replace")
    count = text.count("\ufffd")
    detail = f"The file says that it is in {codec}; U+FFFD stands for what is not."
    return text, (Omission("undecodable byte", count, detail),) if count else ()
