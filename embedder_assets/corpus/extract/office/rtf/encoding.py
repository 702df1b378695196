"""Which characters the bytes of RTF stand for: by its code page, or by the character set of a font."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

DEFAULT_CODEC = "cp1252"
SYMBOLS = "symbols"  # in place of a codec: the font's own signs
# By \fcharset (RTF specification 1.9.1, font table); 1 is that of the document.
_BY_CHARSET = {
    0: "cp1252",
    2: SYMBOLS,
    77: "mac_roman",
    78: "shift_jis",
    79: "euc_kr",
    80: "gb2312",
    81: "big5",
    83: "iso8859_8",
    84: "cp1256",
    85: "mac_greek",
    86: "mac_turkish",
    87: "cp874",
    88: "mac_latin2",
    89: "mac_cyrillic",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gb18030",
    136: "cp950",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
    254: "cp437",
    255: "cp850",
}
_BY_CODE_PAGE = {936: "gb18030", 10000: "mac_roman", 65001: "utf-8"}


@dataclass
class Font:
    """A font: its name, and the codec of its bytes; None for that of the document."""

    name: str = ""
    codec: str | None = None


def codec_of_charset(number: int) -> str | None:
    """The codec of a character set; None for that of the document."""
    return _BY_CHARSET.get(number)


def codec_of_code_page(number: int) -> str:
    """The codec of a code page of Windows or DOS."""
    name = _BY_CODE_PAGE.get(number, f"cp{number}")
    try:
        codecs.lookup(name)
    except LookupError:
        return DEFAULT_CODEC
    return name
