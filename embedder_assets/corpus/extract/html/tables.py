"""Tables of HTML as rows of cells, with every value under its own column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from selectolax.lexbor import LexborNode

from embedder_assets.corpus.extract.html.context import HEADINGS, Context, attribute
from embedder_assets.corpus.extract.html.inline import Inline
from embedder_assets.corpus.extract.limits import too_long

_SECTIONS = {"thead", "tbody", "tfoot"}
_MAX_COLUMN_SPAN, _MAX_ROW_SPAN = 1000, 65_534  # of the HTML standard
_STRUCTURE = ", ".join(["table", "form", *sorted(HEADINGS)])
_SENTENCE_ENDS = tuple(".:;,!?…")


@dataclass
class _Row:
    """A row; ``texts`` has the cells by column, also those that reach into it from above or from the left."""

    is_head: bool
    has_headers: bool
    texts: dict[int, str]


@dataclass
class Table:
    """A table of data: what stands above it, and its rows, of which the first is the header."""

    captions: list[str]
    rows: list[list[str]]


def layout_cells(table: LexborNode, context: Context) -> list[LexborNode] | None:
    """The cells of a table that only places things on the page; None for a table of data."""
    rows = [list(_cells(row, context)) for _, row in _rows(table, context)]
    cells = [cell for row in rows for cell in row]
    is_placement = attribute(table, "role") in {"presentation", "none"}
    names = {child.tag for child in context.children(table)} | {cell.tag for cell in cells}
    if not is_placement and not names & {"th", "thead", "caption"}:
        narrow = max(map(len, rows), default=0) < 2 or len(rows) < 2
        is_placement = narrow or any(cell.css_first(_STRUCTURE) is not None for cell in cells)
    return cells if is_placement else None


def read_table(table: LexborNode, context: Context) -> Table:
    """The rows of a table of data, its spans filled; rows and columns without a word are left out.

    Raises:
        DocumentError: With kind ``too_long``, if filling the spans makes more text than a document may have.
    """
    captions = [cell_text(child, context) for child in context.children(table) if child.tag == "caption"]
    starts: set[int] = set()
    rows = [row for row in _place(table, context, starts) if any(row.texts.values())]
    columns = sorted(starts)
    while len(rows) > 1 and rows[0].is_head and len(columns) > 1 and len(set(rows[0].texts.values())) == 1:
        captions.append(rows.pop(0).texts[0])  # a title over all columns
    heads = len(list(takewhile(lambda row: row.is_head, rows)))
    if heads == len(rows) or not any(row.has_headers for row in rows):
        heads = min(1, len(rows))
    grid = [[row.texts.get(column, "") for column in columns] for row in rows]
    header = [" ".join(dict.fromkeys(filter(None, cells))) for cells in zip(*grid[:heads], strict=True)]
    return Table(list(filter(None, captions)), [header or [""] * len(columns), *grid[heads:]] if rows else [])


def cell_text(cell: LexborNode, context: Context) -> str:
    """What is in a cell, as one line: what stands in lines of its own there is set apart by semicolons."""
    text = ""
    for part in filter(None, _parts(cell, context)):
        text += (" " if text.endswith(_SENTENCE_ENDS) else "; ") + part if text else part
    return text


def _parts(node: LexborNode, context: Context) -> Iterator[str]:
    if node.tag == "tr":
        yield ", ".join(filter(None, (cell_text(cell, context) for cell in _cells(node, context))))
        return
    for run in context.runs(node):
        if isinstance(run, list):
            yield Inline(context).line(run).replace("\n", " ")
        else:
            yield from _parts(run, context)


def _rows(table: LexborNode, context: Context) -> Iterator[tuple[LexborNode, LexborNode]]:
    """The rows in the order in which they are shown, each with its section."""
    sections = [child for child in context.children(table) if child.tag in _SECTIONS]
    for section in sorted(sections, key=lambda each: {"thead": 0, "tfoot": 2}.get(each.tag or "", 1)):
        for row in context.children(section):
            if row.tag == "tr":
                yield section, row


def _cells(row: LexborNode, context: Context) -> Iterator[LexborNode]:
    return (cell for cell in context.children(row) if cell.tag in {"td", "th"})


def _place(table: LexborNode, context: Context, starts: set[int]) -> Iterator[_Row]:
    """Put each cell in its column (HTML standard, 4.9.12.1); ``starts`` gets the columns in which a text begins."""
    has_head = any(child.tag == "thead" for child in context.children(table))
    section, from_above, chars = 0, dict[int, tuple[int, str]](), 0
    for part, row in _rows(table, context):
        if part.mem_id != section:  # a cell ends with its section
            section, from_above = part.mem_id, {}
        texts = {column: text for column, (_, text) in from_above.items()}
        reaching = {column: (rows - 1, text) for column, (rows, text) in from_above.items() if rows > 1}
        column = 0
        cells = list(_cells(row, context))
        for cell in cells:
            while column in texts:
                column += 1
            text, height = cell_text(cell, context), _span(cell, "rowspan", _MAX_ROW_SPAN)
            starts |= {column} if text else set()
            for _ in range(_span(cell, "colspan", _MAX_COLUMN_SPAN)):
                texts.setdefault(column, text)
                if height > 1:
                    reaching[column] = height - 1, text
                column += 1
        from_above = reaching
        chars += sum(map(len, texts.values())) + len(texts)
        if chars > context.limits.text_chars:
            raise too_long(context.thing, context.limits)
        tags = {cell.tag for cell in cells}
        is_head = part.tag == "thead" or (tags == {"th"} and not has_head)
        yield _Row(is_head, is_head or "th" in tags, texts)


def _span(cell: LexborNode, name: str, most: int) -> int:
    value = attribute(cell, name)[:9]
    if not (value.isascii() and value.isdecimal()):
        return 1
    return min(int(value), most) or (most if name == "rowspan" else 1)
