"""What a dense model reads in front of a chunk: the title of its document and its headings, where it lacks them.

A chunk in the middle of a section does not say what it is about. Title and heading path are put in front of it for the
dense model alone; the chunk's text and offsets stay as they are. A document that is one chunk is left as it is if it
says its title; one that is not is cut a little finer, so that each chunk has room for its context.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from embedder_assets.chunking.chunker import Chunk, Chunker, content_digest, outline_of
from embedder_assets.corpus.document import Document
from embedder_assets.corpus.markdown import HEADING_SEPARATOR, HeadingSection
from embedder_assets.serving.models.tokenization import load_tokenizer

# The most that a context takes of what the model reads, and in how many steps it is reserved.
_SHARE, _STEPS = 8, 4
# A document with more is cut at once.
_CHARS_PER_TOKEN = 8
# A model that reads less has no room for a context.
_LEAST_TOKENS = 64


class ContextChunker:
    """Cuts documents as ``Chunker`` does, with its arguments and errors, so that context and chunk fit the model."""

    def __init__(self, tokenizer_file: Path, max_tokens: int) -> None:
        self._tokenizer = load_tokenizer(tokenizer_file)
        self._max_tokens = max_tokens
        self._most = max_tokens // _SHARE if max_tokens >= _LEAST_TOKENS else 0
        self._cut = functools.cache(lambda reserve: Chunker(tokenizer_file, max_tokens - reserve).chunk)
        self._cut(0)

    def chunk(self, document: Document) -> list[Chunk]:
        """Cut one document; the digest of a chunk with a context is of both."""
        outline = outline_of(document)
        chunks = self._cut(0)(document, outline) if self._is_short(document) else []
        if len(chunks) != 1 or self.missing_parts(document, chunks[0]):
            reserve = self._reserve(document, outline)
            cut = self._cut(reserve)(document, outline)
            chunks = [self._with_context(document, chunk, reserve) for chunk in cut]
        return [replace(chunk, title=document.title) for chunk in chunks]

    def missing_parts(self, document: Document, chunk: Chunk) -> list[str]:
        """What of title and headings the chunk does not say itself."""
        text = chunk.text.lower()
        return [part for part in context_parts(document, chunk) if part.lower() not in text]

    def _is_short(self, document: Document) -> bool:
        """Whether a document may be one chunk."""
        if len(document.text) > _CHARS_PER_TOKEN * self._max_tokens:
            return False
        (encoding,) = self._tokenizer.encode_batch_fast([document.text])
        return len(encoding) <= self._max_tokens

    def _reserve(self, document: Document, outline: Sequence[HeadingSection]) -> int:
        """The tokens that the longest context of a document takes, and one for the separator, in steps."""
        contexts = [HEADING_SEPARATOR.join(_parts(document, path)) for path in {section.path for section in outline}]
        longest = max((len(self._offsets(context)) + 1 for context in contexts if context), default=0)
        step = max(self._most // _STEPS, 1)
        return min(-(-longest // step) * step, self._most)

    def _with_context(self, document: Document, chunk: Chunk, reserve: int) -> Chunk:
        context = HEADING_SEPARATOR.join(self.missing_parts(document, chunk))
        kept = self._offsets(context)[: max(reserve - 1, 0)]
        context = context[: kept[-1][1]].rstrip(HEADING_SEPARATOR) if kept else ""
        if not context:
            return chunk
        digest = content_digest(chunk.text, chunk.table_header, context)
        return replace(chunk, context=context, content_sha256=digest)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


def context_parts(document: Document, chunk: Chunk) -> list[str]:
    """The title, unless it is only the document's name, and the headings, the outermost first; nothing twice."""
    return _parts(document, chunk.heading.split(HEADING_SEPARATOR))


def _parts(document: Document, headings: Iterable[str]) -> list[str]:
    named = document.title not in (document.doc_id, PurePosixPath(document.doc_id).stem)
    parts = [*([document.title] if named else []), *headings]
    return list(dict.fromkeys(part for part in parts if part.strip()))
