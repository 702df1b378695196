"""Plain text, taken as it is; and the decoding that all text formats share."""

from __future__ import annotations

import codecs

from embedder_assets.corpus.extract.extracted import Extracted
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.errors import DocumentError

# The mark of UTF-32 begins with that of UTF-16, so it is tried first.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 8192
_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
_MAX_CONTROL_SHARE = 0.03  # bytes at random have a tenth, text in any 8-bit encoding has none


def extract_plain(data: bytes, thing: str, _limits: DocumentLimits) -> Extracted:
    """Take a text file as it is."""
    return Extracted(decode(data, thing))


def decode(data: bytes, thing: str, declared_encoding: str | None = None) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 that begin with their byte order mark.

    Args:
        data: The whole file.
        thing: The name of the document for messages.
        declared_encoding: What the file itself says that it is, tried where it is not UTF-8.

    Raises:
        DocumentError: With kind ``binary`` or ``not_utf8``.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and _looks_binary(data[:_SAMPLE_BYTES]):
        raise _binary(thing, "binary content")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if declared_encoding:
            return _decode_as_declared(data, thing, declared_encoding)
        # The codec counts from behind the mark of UTF-8.
        mark = len(codecs.BOM_UTF8) if encoding == "utf-8-sig" and data.startswith(codecs.BOM_UTF8) else 0
        raise _not_decodable(thing, error.start + mark, encoding.removesuffix("-sig").upper()) from error
    if "\0" in text:
        raise _binary(thing, f"a NUL at character {text.index(chr(0))}")
    return text


def empty(thing: str, got: str = "nothing but whitespace") -> DocumentError:
    """The error of a document without text."""
    remedy = "Fill the file or remove it."
    return DocumentError(thing, kind="empty", expected="some text", got=got, remedy=remedy)


def _decode_as_declared(data: bytes, thing: str, declared_encoding: str) -> str:
    try:
        return data.decode(declared_encoding)
    except UnicodeDecodeError as error:
        raise _not_decodable(thing, error.start, declared_encoding) from error
    except LookupError as error:
        raise _not_decodable(thing, 0, f"{declared_encoding} (an unknown encoding)") from error


def _looks_binary(sample: bytes) -> bool:
    controls = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    return b"\0" in sample or controls > _MAX_CONTROL_SHARE * len(sample)


def _binary(thing: str, got: str) -> DocumentError:
    remedy = "Give the file the suffix of its real format; if it is UTF-16 text, convert it to UTF-8 with iconv."
    return DocumentError(thing, kind="binary", expected="a text file", got=got, remedy=remedy)


def _not_decodable(thing: str, offset: int, encoding: str) -> DocumentError:
    return DocumentError(
        thing,
        kind="not_utf8",
        expected=f"text in {encoding}",
        got=f"an invalid byte at offset {offset}",
        remedy="Convert the file, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE",
    )
