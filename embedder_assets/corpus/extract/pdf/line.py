"""A printed line of a page: its text and its place."""

from __future__ import annotations

from dataclasses import dataclass, field

HYPHEN_AT_LINE_END = "\ufffe"  # pdfium's sign for a hyphen after which a word goes on
BULLETS = "\u00b7\u2022\u25aa\u25cf\u25a0\u25e6\u2023\u27a4\u2043\u25ab\u25cb"
_FAR_OFF = 1e6  # points
WIDE_GAP = 1.5  # between two cells of a line, in font sizes


@dataclass(frozen=True)
class Line:
    """One printed line, or a cell of it: text, box in points from the lower left corner, and font size in points.

    ``upright`` is false for rotated text, whose box says nothing about its order. ``cells`` are the parts of a line
    that a wide gap separates; empty for one part.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    base: float
    size: float
    upright: bool = True
    cells: tuple[Line, ...] = ()

    @property
    def parts(self) -> tuple[Line, ...]:
        """The cells, or the line itself where it has none."""
        return self.cells or (self,)


@dataclass(frozen=True)
class PageLines:
    """The lines of a page in reading order, its height, and the fonts whose characters could not be read."""

    lines: list[Line]
    height: float
    unreadable: set[str] = field(default_factory=set)


def line_of(parts: list[Line]) -> Line:
    """One line of several cells, from left to right."""
    parts = sorted(parts, key=lambda part: part.left)
    longest = max(parts, key=lambda part: len(part.text))
    box = (
        min(p.left for p in parts),
        min(p.bottom for p in parts),
        max(p.right for p in parts),
        max(p.top for p in parts),
    )
    text = " ".join(part.text.strip() for part in parts)
    return Line(text, *box, longest.base, longest.size, longest.upright, tuple(parts) if len(parts) > 1 else ())


def within_reach(points: float) -> float:
    """A coordinate, or 0 for one that is no number or far off every page: a file may say anything."""
    return points if abs(points) < _FAR_OFF else 0.0
