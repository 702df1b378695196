"""What a dense model reads in front of a chunk: the title of its document and its headings, where it lacks them.

A chunk in the middle of a section does not say what it is about. Title and heading path are put in front of it for the
dense model alone; the chunk's text and offsets stay as they are. A document that is one chunk is left as it is if it
says its title; one that is not is cut a little finer, so that each chunk has room for its context.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from embedder_assets.chunking.chunker import Chunk, Chunker
from embedder_assets.corpus.document import Document
from embedder_assets.corpus.markdown import HEADING_SEPARATOR
from embedder_assets.serving.models.description import CONTEXT_SEPARATOR
from embedder_assets.serving.models.tokenization import load_tokenizer

# The most that a context takes of what the model reads, and in how many steps it is reserved.
_SHARE, _STEPS = 8, 4
# A model that reads less has no room for a context.
_LEAST_TOKENS = 64


class ContextChunker:
    """Cuts documents as ``Chunker`` does, into chunks that fit the model together with their context.

    Args:
        tokenizer_file: The ``tokenizer.json`` of the dense model.
        max_tokens: The longest sequence that the dense model reads.

    Raises:
        ModelBuildError: If the tokenizer cannot be read.
        SettingsError: If ``max_tokens`` leaves no room for text.
    """

    def __init__(self, tokenizer_file: Path, max_tokens: int) -> None:
        self._tokenizer = load_tokenizer(tokenizer_file)
        self._most = max_tokens // _SHARE if max_tokens >= _LEAST_TOKENS else 0
        self._cut = functools.cache(lambda reserve: Chunker(tokenizer_file, max_tokens - reserve).chunk)
        self._cut(0)

    def chunk(self, document: Document) -> list[Chunk]:
        """Cut one document; the digest of a chunk with a context is of both."""
        chunks = self._cut(0)(document)
        if len(chunks) > 1 or any(_lacking(document, chunk) for chunk in chunks):
            reserve = self._reserve(_joined(_parts(document, chunk)) for chunk in chunks)
            chunks = [self._with_context(document, chunk, reserve) for chunk in self._cut(reserve)(document)]
        return [replace(chunk, title=document.title) for chunk in chunks]

    def _reserve(self, contexts: Iterable[str]) -> int:
        """The tokens that the longest of some contexts takes with its separator, in steps."""
        step = max(self._most // _STEPS, 1)
        longest = max(len(self._offsets(context + CONTEXT_SEPARATOR)) if context else 0 for context in contexts)
        return min(-(-longest // step) * step, self._most)

    def _with_context(self, document: Document, chunk: Chunk, reserve: int) -> Chunk:
        context = _joined(_lacking(document, chunk))
        # One is for the separator.
        kept = self._offsets(context)[: max(reserve - 1, 0)]
        context = context[: kept[-1][1]] if kept else ""
        if not context:
            return chunk
        digest = hashlib.sha256(f"{context}{CONTEXT_SEPARATOR}{chunk.text}".encode()).hexdigest()
        return replace(chunk, context=context, content_sha256=digest)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


def _parts(document: Document, chunk: Chunk) -> list[str]:
    """The title, unless it is only the document's name, and the headings, the outermost first; nothing twice."""
    named = document.title not in (document.doc_id, PurePosixPath(document.doc_id).stem)
    parts = [*([document.title] if named else []), *chunk.heading.split(HEADING_SEPARATOR)]
    return list(dict.fromkeys(part for part in parts if part.strip()))


def _lacking(document: Document, chunk: Chunk) -> list[str]:
    """Those that the chunk does not say itself."""
    text = chunk.text.lower()
    return [part for part in _parts(document, chunk) if part.lower() not in text]


def _joined(parts: list[str]) -> str:
    return HEADING_SEPARATOR.join(parts)
