"""Roman numerals, as lists and pages are numbered in many formats."""

from __future__ import annotations

_VALUES = {
    **{"m": 1000, "cm": 900, "d": 500, "cd": 400, "c": 100, "xc": 90, "l": 50},
    **{"xl": 40, "x": 10, "ix": 9, "v": 5, "iv": 4, "i": 1},
}


def to_roman(number: int) -> str:
    """A number above 0 in small letters."""
    text = ""
    for letters, value in _VALUES.items():
        text, number = text + letters * (number // value), number % value
    return text


def from_roman(letters: str) -> int:
    """The value of a numeral in letters of either case."""
    values = [_VALUES[letter] for letter in letters.lower()]
    return sum(-value if value < max(values[n:]) else value for n, value in enumerate(values))
