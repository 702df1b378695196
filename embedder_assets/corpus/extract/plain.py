"""Plain text, taken as it is; and the decoding that all text formats share."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

import webencodings

from embedder_assets.corpus.document import CODE_LANGUAGES
from embedder_assets.corpus.extract.extracted import Extracted, Omission
from embedder_assets.corpus.extract.limits import DocumentLimits
from embedder_assets.errors import DocumentError

# The mark of UTF-32 begins with that of UTF-16, so it is tried first.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CODING = re.compile(rb"coding[=:]\s*([-\w.]+)")  # PEP 263, which Emacs and Vim understand too
_MAX_CODE_LINE_CHARS = 5000
# Where the standard means another codec than Python's of that name.
_OTHERWISE = {"gbk": "gb18030", "utf-16-le": "utf-8", "utf-16-be": "utf-8", "x-user-defined": "cp1252"}
_SAMPLE_BYTES = 8192
_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
_MAX_CONTROL_SHARE = 0.03  # bytes at random have a tenth, text in any 8-bit encoding has none


def extract_plain(data: bytes, thing: str, _limits: DocumentLimits) -> Extracted:
    """Take a text file as it is."""
    return Extracted(decode(data, thing))


def extract_code(data: bytes, thing: str, _limits: DocumentLimits) -> Extracted:
    """Take source code as it is, without lines so long that nobody has written them: minified code, and data."""
    declared = _CODING.search(b"\n".join(data[:_SAMPLE_BYTES].splitlines()[:2]))
    lines = decode(data, thing, _python_codec(declared[1].decode()) if declared else None).splitlines(keepends=True)
    written = [line for line in lines if len(line) <= _MAX_CODE_LINE_CHARS]
    if any(map(str.strip, lines)) and not any(map(str.strip, written)):
        raise DocumentError(
            thing,
            kind="empty",
            expected=f"lines that people have written, of at most {_MAX_CODE_LINE_CHARS:,} characters",
            got="minified code or data",
            remedy="Put the source that it was made from in its place, or remove it.",
        )
    detail = f"Longer than {_MAX_CODE_LINE_CHARS:,} characters: minified code or data."
    dropped = [Omission("long line", len(lines) - len(written), detail)] if len(written) < len(lines) else []
    language = CODE_LANGUAGES.get(PurePosixPath(thing).suffix.lower(), "")
    return Extracted("".join(written), metadata={"programming_language": language}, omissions=tuple(dropped))


def _python_codec(label: str) -> str:
    """The name that others know for what Python calls ``latin-1``."""
    try:
        return codecs.lookup(label).name
    except LookupError:
        return label


def decode(data: bytes, thing: str, declared_encoding: str | None = None) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 that begin with their byte order mark.

    Args:
        data: The whole file.
        thing: The name of the document for messages.
        declared_encoding: The label of what the file itself says that it is, tried where it is not UTF-8.

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


def codec_of(label: str) -> str | None:
    """The codec for what browsers read under a label of an encoding; None if they know none of that name.

    ``gb2312`` means GB 18030 to them, ``iso-8859-1`` means windows-1252, and ``utf-16``, where it can be read as
    letters, means UTF-8 (https://encoding.spec.whatwg.org).
    """
    encoding = webencodings.lookup(label)
    if encoding is None:
        return None
    # Browsers refuse the old encodings that switch between alphabets; a file does no harm in them.
    name = label.strip() if encoding.name == "replacement" else encoding.codec_info.name
    try:
        return _OTHERWISE.get(name) or codecs.lookup(name).name
    except LookupError:
        return None


def _decode_as_declared(data: bytes, thing: str, label: str) -> str:
    codec = codec_of(label)
    if codec is None:
        raise _not_decodable(thing, 0, f"{label} (an unknown encoding)")
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise _not_decodable(thing, error.start, f"{label} ({codec})") from error


def lone_surrogate(thing: str) -> DocumentError:
    """The error of text that names half of a character, which no table can hold."""
    got = "a lone surrogate (U+D800 to U+DFFF)"
    remedy = "Remove the reference to that character."
    return DocumentError(thing, kind="not_utf8", expected="text that UTF-8 can hold", got=got, remedy=remedy)


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
