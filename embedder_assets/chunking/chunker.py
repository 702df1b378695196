"""Cuts a document into chunks that fit the dense model and begin at headings where they can.

Markdown is first packed by its headings: a section with its sub-sections stays whole if it fits, and a tiny section
joins a neighbour under the same parent. What does not fit is split by ``semantic_text_splitter`` at the highest
boundary that does (headings, blocks, sentences, words, characters). Plain text is one section. The splitter leaves
headings and last words alone in a chunk, so it splits a little finer than the model allows, and such small pieces
then join a neighbour.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid5

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from embedder_assets.chunking.packing import ChunkLimits, Span, join_small, pack_sections, windows
from embedder_assets.chunking.table_header import (
    Table,
    affordable,
    find_tables,
    pack_rows,
    row_spans,
    runs_in_tables,
    table_of,
)
from embedder_assets.corpus.document import Document
from embedder_assets.corpus.markdown import HEADING_SEPARATOR, HeadingSection, line_starts, parse_blocks, sections
from embedder_assets.errors import SettingsError
from embedder_assets.serving.models.tokenization import load_tokenizer

_CHUNK_IDS = UUID("5f0c8a7e-3b1d-5e64-9a52-7d1f4c2b9e06")  # fixed for ever: a chunk's id must not change
PLAIN = "text/plain"
_MIN_CAPACITY = 8
_CHARS_PER_TOKEN_LIMIT = 16
_SMALL_SHARE = 8  # a piece of up to an eighth of the capacity is small
# The splitter may look at all the text it is given for each chunk that it cuts off, so it is given little at a time.
_WINDOW_CHUNKS = 4
# Not where the line ends like a sentence or a hard break, nor where the next one begins like a list item.
_WRAP = re.compile(r"(?<=[^\s.!?:;\\])\n(?=[ ]*[\w\"'`(\[*_\u201c\u2018])")

_Splitter = MarkdownSplitter | TextSplitter


@dataclass(frozen=True)
class Chunk:
    """A part of a document: ``document.text[start:end] == text``.

    ``token_count`` includes the special tokens and the header row of the table that the text continues. ``title`` and
    ``context`` are for ``ContextChunker`` to set. ``page`` and ``last_page`` are those on which the chunk begins and
    ends, from 1; None in a document without pages.
    """

    collection: str
    doc_id: str
    chunk_id: str
    chunk_index: int
    text: str
    start: int
    end: int
    token_count: int
    heading: str
    content_sha256: str
    title: str | None = None
    context: str | None = None
    table_header: str | None = None
    page: int | None = None
    last_page: int | None = None


class Chunker:
    """Cuts documents into chunks of at most ``max_tokens`` tokens, special tokens included.

    A chunk has at most 16 characters for each of those tokens too, because WordPiece counts an endless word as one.

    Args:
        tokenizer_file: The ``tokenizer.json`` of the dense model.
        max_tokens: The longest sequence that the dense model reads.

    Raises:
        ModelBuildError: If the tokenizer cannot be read.
        SettingsError: If ``max_tokens`` leaves no room for text.
    """

    def __init__(self, tokenizer_file: Path, max_tokens: int) -> None:
        self._tokenizer = load_tokenizer(tokenizer_file)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(False)
        capacity = max_tokens - self._special_tokens  # the splitter does not count special tokens
        if capacity < _MIN_CAPACITY:
            raise SettingsError(
                "max_tokens",
                expected=f"at least {_MIN_CAPACITY + self._special_tokens}",
                got=str(max_tokens),
                remedy="Set it to the sequence length of the dense model, for example 256.",
            )
        self._limits = ChunkLimits(tokens=capacity, chars=_CHARS_PER_TOKEN_LIMIT * max_tokens)
        self._small = capacity // _SMALL_SHARE
        target = capacity - self._small
        self._markdown = MarkdownSplitter.from_huggingface_tokenizer(self._tokenizer, target)
        self._plain = TextSplitter.from_huggingface_tokenizer(self._tokenizer, target)

    def chunk(self, document: Document, outline: list[HeadingSection] | None = None) -> list[Chunk]:
        """Cut one document; every character that is not whitespace is in exactly one chunk.

        Args:
            document: The document.
            outline: What ``outline_of`` says of it, where that is known.
        """
        text = document.text
        outline = outline or outline_of(document)
        splitter: _Splitter = self._plain if document.media_type == PLAIN else self._markdown
        spans = self._spans(text, outline, splitter)
        headers: list[str | None] = [None] * len(spans)
        if splitter is self._markdown and (tables := affordable(find_tables(text), self._token_counts, self._limits)):
            spans, headers = self._with_table_headers(text, spans, tables)
        headings = _heading_paths(outline, spans)
        return [
            _chunk(document, index, replace(span, tokens=span.tokens + self._special_tokens), heading, header)
            for index, (span, heading, header) in enumerate(zip(spans, headings, headers, strict=True))
        ]

    def _with_table_headers(
        self, text: str, spans: list[Span], tables: list[Table]
    ) -> tuple[list[Span], list[str | None]]:
        """Cuts the rows of tables finer where the header would not fit, and counts it with each that it goes to."""
        cut: list[Span] = []
        for table, run in runs_in_tables(spans, tables):
            cut += self._rows_with_room(text, table, run) if table else run
        headers = [table.header if (table := table_of(tables, span.start)) else None for span in cut]
        wanted = [at for at, header in enumerate(headers) if header]
        whole = self._token_counts([f"{headers[at]}\n{text[cut[at].start : cut[at].end]}" for at in wanted])
        for at, tokens in zip(wanted, whole, strict=True):
            if tokens <= self._limits.tokens:
                cut[at] = replace(cut[at], tokens=tokens)
            else:  # a tokenizer that does not count parts as it counts the whole
                headers[at] = None
        return cut, headers

    def _rows_with_room(self, text: str, table: Table, run: list[Span]) -> list[Span]:
        limits = ChunkLimits(self._limits.tokens - table.header_tokens, self._limits.chars - len(table.header))
        if all(map(limits.allow, run)):
            return run
        start, end = run[0].start, run[-1].end
        rows: list[Span] = []
        for row in self._counted(text, row_spans(text, start, min(table.end, end))):
            rows += [row] if limits.allow(row) else self._split_row(text, row, limits)
        packed = pack_rows(rows, limits)
        # What stands below the table needs no header.
        below = self._counted(text, [Span(table.end, end, 0)] if end > table.end else [])
        if (
            below
            and packed
            and limits.allow(joined := Span(packed[-1].start, end, packed[-1].tokens + below[0].tokens))
        ):
            packed, below = [*packed[:-1], joined], []
        return self._counted(text, _trimmed(text, [*packed, *below]))

    def _split_row(self, text: str, row: Span, limits: ChunkLimits) -> list[Span]:
        splitter = TextSplitter.from_huggingface_tokenizer(self._tokenizer, limits.tokens)
        return self._counted(text, self._pieces(splitter, text, row, limits.chars))

    def _spans(self, text: str, outline: list[HeadingSection], splitter: _Splitter) -> list[Span]:
        heading_starts = {section.start for section in outline[1:]}
        flowing = text if splitter is self._plain else unwrap(text)
        spans: list[Span] = []
        for packed in pack_sections(outline, self._section_tokens(text, outline), self._limits):
            if self._limits.allow(packed):
                spans.append(packed)
            else:
                pieces = self._counted(text, self._split(splitter, flowing, packed))
                spans += join_small(pieces, self._small, self._limits, heading_starts)
        return self._within_limits(splitter, text, spans)

    def _section_tokens(self, text: str, outline: list[HeadingSection]) -> list[int]:
        """Count the tokens of each section; one too long to stay whole is not worth counting."""
        whole = [section.end - section.start <= self._limits.chars for section in outline]
        texts = [text[part.start : part.end] for part, fits in zip(outline, whole, strict=True) if fits]
        counts = iter(self._token_counts(texts))
        return [next(counts) if fits else self._limits.tokens + 1 for fits in whole]

    def _split(self, splitter: _Splitter, text: str, span: Span) -> list[Span]:
        return list(self._pieces(splitter, text, span, _WINDOW_CHUNKS * self._limits.chars))

    def _pieces(self, splitter: _Splitter, text: str, span: Span, window: int) -> Iterator[Span]:
        for start, end in windows(text, span.start, span.end, window):
            for offset, piece in splitter.chunk_indices(text[start:end]):
                found = Span(start + offset, start + offset + len(piece), 0)
                if len(piece) > self._limits.chars:
                    yield from self._pieces(splitter, text, found, self._limits.chars)
                else:
                    yield found

    def _within_limits(self, splitter: _Splitter, text: str, spans: list[Span]) -> list[Span]:
        """Trim and count the spans; a sum of tokens was only an estimate, so one that is over it is split again."""
        result: list[Span] = []
        for span in self._counted(text, _trimmed(text, spans)):
            if self._limits.allow(span):
                result.append(span)
            else:
                result += self._counted(text, _trimmed(text, self._split(splitter, text, span)))
        return result

    def _counted(self, text: str, spans: Iterable[Span]) -> list[Span]:
        uncounted = list(spans)
        counts = self._token_counts([text[span.start : span.end] for span in uncounted])
        return [replace(span, tokens=count) for span, count in zip(uncounted, counts, strict=True)]

    def _token_counts(self, texts: list[str]) -> list[int]:
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def outline_of(document: Document) -> list[HeadingSection]:
    """The sections of a document; plain text is one."""
    text = document.text
    return [HeadingSection(0, len(text), 0, ())] if document.media_type == PLAIN else sections(text)


def unwrap(text: str) -> str:
    """Replace the line ends inside paragraphs of a Markdown text by spaces; its length stays the same.

    The splitter would rather cut at a line end than at the end of a sentence. In text that was wrapped at a column, as
    most Markdown in git and all text from PDFs is, that would end most chunks in the middle of a sentence.
    """
    starts = [*line_starts(text), len(text)]
    parts, done = [], 0
    quotes = 0
    for token in parse_blocks(text):
        quotes += (token.type == "blockquote_open") - (token.type == "blockquote_close")
        if token.type == "paragraph_open" and token.map and not quotes:
            start, end = starts[token.map[0]], starts[token.map[1]]
            paragraph = text[start:end]
            if "|" not in paragraph:  # it may be a table
                parts += [text[done:start], _WRAP.sub(" ", paragraph)]
                done = end
    return "".join([*parts, text[done:]])


def _trimmed(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Leave out the whitespace around spans, and spans that are nothing else."""
    for span in spans:
        content = text[span.start : span.end]
        start = span.end - len(content.lstrip())
        end = span.start + len(content.rstrip())
        if start < end:
            yield Span(start, end, span.tokens)


def _heading_paths(outline: list[HeadingSection], spans: list[Span]) -> Iterator[str]:
    """Give the heading path of each span: what its sections share, or else the first that is there."""
    starts = [section.start for section in outline]
    for span in spans:
        first, last = bisect_right(starts, span.start) - 1, bisect_right(starts, span.end - 1)
        paths = [section.path for section in outline[first:last] if section.path]
        yield HEADING_SEPARATOR.join(_shared_start(paths) or next(iter(paths), ()))


def _shared_start(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    shared = paths[0] if paths else ()
    for path in paths:
        while path[: len(shared)] != shared:
            shared = shared[:-1]
    return shared


def _chunk(document: Document, index: int, span: Span, heading: str, table_header: str | None) -> Chunk:
    text = document.text[span.start : span.end]
    return Chunk(
        collection=document.collection,
        doc_id=document.doc_id,
        chunk_id=str(uuid5(_CHUNK_IDS, f"{document.collection}\x1f{document.doc_id}\x1f{index}")),
        chunk_index=index,
        text=text,
        start=span.start,
        end=span.end,
        token_count=span.tokens,
        heading=heading,
        content_sha256=content_digest(text, table_header),
        table_header=table_header,
        page=bisect_right(document.pages, span.start) or None,
        last_page=bisect_right(document.pages, span.end - 1) or None,
    )


def content_digest(text: str, table_header: str | None = None, context: str | None = None) -> str:
    """SHA-256 of what the models read of a chunk: two texts have one digest only if every model reads the same.

    The separators are not the line ends of what is read: a text that begins with the words of a context or a header is
    another one to a model that reads no context.
    """
    read = f"{table_header}\x1e{text}" if table_header else text
    return hashlib.sha256((f"{context}\x1f{read}" if context else read).encode()).hexdigest()
