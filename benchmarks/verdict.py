"""Whether what was asked for was reached, in the words that all benchmarks have for it."""

from __future__ import annotations


def in_words(holds: bool) -> str:
    """In words that a search finds."""
    return "holds" if holds else "DOES NOT HOLD"
