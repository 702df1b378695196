"""The words in which every benchmark says whether its acceptance criterion was met."""

from __future__ import annotations


def outcome(holds: bool) -> str:
    """``holds`` or ``DOES NOT HOLD``, so that a search of a log finds both."""
    return "holds" if holds else "DOES NOT HOLD"
