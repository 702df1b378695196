"""Characters of the fonts that Word takes symbols from, by their place in the font (F020 to F0FF)."""

from __future__ import annotations

_GREEK = {
    0x41: "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ",
    0x61: "αβχδεφγηιϕκλμνοπθρστυϖωξψζ",
}
_SYMBOL = {first + at: letter for first, letters in _GREEK.items() for at, letter in enumerate(letters)} | {
    0x22: "∀",
    0x24: "∃",
    0xA3: "≤",
    0xA5: "∞",
    0xAB: "↔",
    0xAC: "←",
    0xAD: "↑",
    0xAE: "→",
    0xAF: "↓",
    0xB0: "°",
    0xB1: "±",
    0xB2: "″",
    0xB3: "≥",
    0xB4: "×",  # noqa: RUF001
    0xB6: "∂",
    0xB7: "•",
    0xB8: "÷",
    0xB9: "≠",
    0xBA: "≡",
    0xBB: "≈",
    0xC5: "⊕",
    0xC6: "∅",
    0xC7: "∩",
    0xC8: "∪",  # noqa: RUF001
    0xCC: "⊂",
    0xCE: "∈",
    0xCF: "∉",
    0xD1: "∇",
    0xD5: "∏",
    0xD6: "√",
    0xD9: "∧",
    0xDA: "∨",  # noqa: RUF001
    0xDB: "⇔",
    0xDE: "⇒",
    0xE5: "∑",
    0xF2: "∫",
}
_WINGDINGS = {
    0x28: "☎",
    0x2A: "✉",
    0x4A: "☺",
    0x4C: "☹",
    0x6C: "●",
    0x6E: "■",
    0x6F: "☐",
    0x71: "❑",
    0x76: "❖",
    0xA7: "▪",
    0xA8: "☐",
    0xAB: "★",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE1: "↑",
    0xE2: "↓",
    0xE8: "➔",
    0xF0: "⇨",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
}
_FONTS = {"symbol": _SYMBOL, "wingdings": _WINGDINGS}


def symbol(font: str, code: str) -> str:
    """The character at a place of a font, which Word writes in hexadecimal; empty if it is not known."""
    try:
        place = int(code, 16)
    except ValueError:
        return ""
    known = _FONTS.get(font.lower(), {}).get(place & 0xFF)
    return known or ("" if 0xF000 <= place <= 0xF0FF or not 0x20 <= place <= 0xFFFF else chr(place))
