"""The header row of a Markdown table for the chunks that begin below it.

A row in the middle of a long table does not say what its columns are. Its header row is put in front of the chunk in
what the models read; the chunk's text and offsets stay as they are.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from embedder_assets.chunking.packing import ChunkLimits, Span

# A header may take this share of what a model reads; a wider one would leave too little of the rows.
_SHARE = 4
_DELIMITER_ROW = re.compile(r"^[ \t>]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$", re.MULTILINE)
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Table:
    """The rows of a table below its header, as character offsets into the text."""

    header: str
    start: int
    end: int
    header_tokens: int = 0


def find_tables(text: str) -> list[Table]:
    """The tables of a Markdown text whose header says something, in order; GitHub Flavored Markdown 4.10."""
    found: list[Table] = []
    done = 0
    for delimiter in _DELIMITER_ROW.finditer(text):
        if "|" not in delimiter.group() or delimiter.start() < done:
            continue
        above = text.rfind("\n", 0, max(delimiter.start() - 1, 0)) + 1
        header = " ".join(text[above : max(delimiter.start() - 1, 0)].strip(" \t>").split())
        start = end = min(delimiter.end() + 1, len(text))
        while end < len(text):
            line_end = text.find("\n", end) + 1 or len(text)
            if "|" not in text[end:line_end]:
                break
            end = line_end
        done = end
        if "|" in header and _WORD.search(header) and end > start:
            found.append(Table(header, start, end))
    return found


def affordable(tables: Iterable[Table], count: Callable[[list[str]], list[int]], limits: ChunkLimits) -> list[Table]:
    """The tables whose header leaves room for rows, with the number of its tokens."""
    narrow = [table for table in tables if _SHARE * len(table.header) <= limits.chars]
    counts = count([table.header for table in narrow])
    counted = [replace(table, header_tokens=tokens) for table, tokens in zip(narrow, counts, strict=True)]
    return [table for table in counted if _SHARE * table.header_tokens <= limits.tokens]


def table_of(tables: Sequence[Table], offset: int) -> Table | None:
    """The table among whose rows an offset lies."""
    at = bisect_right(tables, offset, key=lambda table: table.start) - 1
    return tables[at] if at >= 0 and offset < tables[at].end else None


def runs_in_tables(spans: Sequence[Span], tables: Sequence[Table]) -> Iterator[tuple[Table | None, list[Span]]]:
    """Neighbouring spans that begin among the rows of one table, and between them single ones that do not."""
    run: list[Span] = []
    table: Table | None = None
    for span in spans:
        found = table_of(tables, span.start)
        if run and (found is None or found != table):
            yield table, run
            run = []
        table = found
        run.append(span)
    if run:
        yield table, run


def pack_rows(rows: Iterable[Span], limits: ChunkLimits) -> list[Span]:
    """Join neighbouring rows as long as they fit."""
    packed: list[Span] = []
    for row in rows:
        if packed:
            joined = Span(packed[-1].start, row.end, packed[-1].tokens + row.tokens)
            if limits.allow(joined):
                packed[-1] = joined
                continue
        packed.append(row)
    return packed


def row_spans(text: str, start: int, end: int) -> Iterator[Span]:
    """The lines of a stretch of text, with their line ends."""
    while start < end:
        line_end = min(text.find("\n", start) + 1 or end, end)
        yield Span(start, line_end, 0)
        start = line_end
