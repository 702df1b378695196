"""Cuts a long stretch of text into windows of bounded size, at a good place where one is near."""

from __future__ import annotations

from collections.abc import Iterator

_BOUNDARIES = ("\n\n", "\n", " ")  # best first


def windows(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of consecutive windows of at most ``size`` characters that cover a stretch of text."""
    while end - start > size:
        cut = _best_cut(text, start + size // 2, start + size)
        yield start, cut
        start = cut
    yield start, end


def _best_cut(text: str, earliest: int, latest: int) -> int:
    for boundary in _BOUNDARIES:
        found = text.rfind(boundary, earliest, latest)
        if found >= 0:
            return found + len(boundary)
    return latest
