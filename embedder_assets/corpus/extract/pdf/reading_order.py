"""The order in which the lines of a page are read, which need not be the one in which they were drawn."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from statistics import median

from embedder_assets.corpus.extract.pdf.line import BULLETS, HYPHEN_AT_LINE_END, WIDE_GAP, Line, line_of

_BULLET = re.compile(f"[{BULLETS}\u2013-]")
_SAME_LINE = 0.35  # what the baselines of one line differ by at most, in font sizes
_BULLET_GAP = 4  # between a bullet and its item, in font sizes
_MOST_BULLETS = 200  # of a page: each is looked for in all its lines
_SPACE_WIDTH = 0.15  # at least, in font sizes
_COLUMN_LEADING = 2.5  # between two lines of columns at most, in font sizes
_LEAST_ROWS, _LEAST_WORDS, _LEAST_FILL = 5, 3, 0.6  # of columns: less is a table


def in_reading_order(lines: list[Line]) -> list[Line]:
    """Put together what stands on one line, bullets in front of their items, and columns one after the other."""
    return _columns_apart(_bullets_beside(_on_one_line(lines)))


def _on_one_line(lines: list[Line]) -> list[Line]:
    """Put together what pdfium took apart although it stands on one line, as it does after a superscript."""
    joined: list[Line] = []
    for line in lines:
        before = joined[-1] if joined else None
        if before and _continues(before, line):
            joined[-1] = _joined(before, line)
        else:
            joined.append(line)
    return joined


def _continues(before: Line, line: Line) -> bool:
    return (
        before.upright
        and line.upright
        and abs(before.base - line.base) < _SAME_LINE * min(before.size, line.size)
        and line.left > before.right - 0.5 * line.size
        and not before.text.endswith(HYPHEN_AT_LINE_END)
    )


def _joined(before: Line, line: Line) -> Line:
    last, first = before.parts[-1], line.parts[0]
    if first.left - last.right > WIDE_GAP * line.size:
        return line_of([*before.parts, *line.parts])
    space = "" if first.left - last.right < _SPACE_WIDTH * line.size or first.text[:1] == " " else " "
    both = replace(line_of([last, first]), text=f"{last.text}{space}{first.text}", cells=())
    return line_of([*before.parts[:-1], both, *line.parts[1:]])


def _bullets_beside(lines: list[Line]) -> list[Line]:
    """Put bullets that were drawn apart from their items in front of them."""
    bullets = [line for line in lines if _BULLET.fullmatch(line.text.strip()) and line.upright]
    for bullet in bullets[:_MOST_BULLETS]:
        nearest = [
            (line.left, number)
            for number, line in enumerate(lines)
            if 0 < line.left - bullet.right < _BULLET_GAP * line.size and _is_beside(bullet, line)
        ]
        if nearest:
            number = min(nearest)[1]
            item = lines[number]
            joined = replace(line_of([bullet, item]), text=f"{bullet.text.strip()} {item.text}", cells=())
            lines = [line for line in [*lines[:number], joined, *lines[number + 1 :]] if line is not bullet]
    return lines


def _is_beside(bullet: Line, line: Line) -> bool:
    return line.upright and abs(bullet.base - line.base) < _SAME_LINE * line.size


def _columns_apart(lines: list[Line]) -> list[Line]:
    """Read columns that were drawn line by line across the page one after the other; tables stay in rows."""
    ordered: list[Line] = []
    run: list[Line] = []
    gutter = (-math.inf, math.inf)
    for line in lines:
        narrowed = _gutter(line, gutter)
        if narrowed and run and run[-1].base - line.base < _COLUMN_LEADING * line.size:
            gutter = narrowed
            run.append(line)
            continue
        ordered += _by_column(run, gutter)
        gutter = _gutter(line, (-math.inf, math.inf)) or (-math.inf, math.inf)
        run = [line] if len(line.cells) == 2 else []
        ordered += [] if run else [line]
    return ordered + _by_column(run, gutter)


def _gutter(line: Line, gutter: tuple[float, float]) -> tuple[float, float] | None:
    """What of the gutter between two columns a line leaves free; none if it goes across."""
    if not line.upright or len(line.cells) > 2:
        return None
    if len(line.cells) == 2:
        free = max(gutter[0], line.cells[0].right), min(gutter[1], line.cells[1].left)
    elif line.right < gutter[1]:
        free = max(gutter[0], line.right), gutter[1]
    else:
        free = gutter[0], min(gutter[1], line.left)
    return free if free[1] - free[0] > 0.5 * line.size else None


def _by_column(run: list[Line], gutter: tuple[float, float]) -> list[Line]:
    cells = [part for line in run for part in line.parts]
    columns = [
        [part for part in cells if part.left < gutter[0]],
        [part for part in cells if part.left >= gutter[0]],
    ]
    pairs = sum(len(line.cells) == 2 for line in run)
    return [*columns[0], *columns[1]] if pairs >= _LEAST_ROWS and all(map(_flows, columns)) else run


def _flows(column: list[Line]) -> bool:
    """Whether the lines are those of running text: several words each, most of them as long as the column is wide."""
    widths = [part.right - part.left for part in column]
    words = [len(part.text.split()) for part in column]
    return median(words) >= _LEAST_WORDS and median(widths) >= _LEAST_FILL * max(widths)
