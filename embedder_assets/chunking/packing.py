"""Packs stretches of a document into chunks: sections along the tree of headings, and the pieces of a split section.

A stretch too long for the splitter is first cut into windows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from embedder_assets.corpus.markdown import HeadingSection

_TINY_SHARE = 4  # a section is tiny below a quarter of the capacity
_BOUNDARIES = ("\n\n", "\n", " ")  # of a window, the best first


@dataclass(frozen=True)
class Span:
    """A stretch of text by character offsets, and its number of tokens."""

    start: int
    end: int
    tokens: int


@dataclass(frozen=True)
class ChunkLimits:
    """What a chunk may hold at most."""

    tokens: int
    chars: int

    def allow(self, span: Span) -> bool:
        """Say whether a span may be a chunk."""
        return span.tokens <= self.tokens and span.end - span.start <= self.chars


@dataclass(frozen=True)
class _Node:
    span: Span
    level: int


def pack_sections(outline: Sequence[HeadingSection], tokens: Sequence[int], limits: ChunkLimits) -> list[Span]:
    """Join sections as long as they fit: a section with its sub-sections first, then tiny ones with a neighbour.

    Args:
        outline: The sections of a document; the first stands above all others.
        tokens: The number of tokens of each section.
        limits: What a chunk may hold.

    Returns:
        Consecutive spans that cover the document; one over the limits is still to be split.
    """
    sized = zip(outline, tokens, strict=True)
    return _pack_tree([_Node(Span(part.start, part.end, count), part.level) for part, count in sized], limits)


def join_small(pieces: Iterable[Span], small: int, limits: ChunkLimits, heading_starts: Collection[int]) -> list[Span]:
    """Join pieces of at most ``small`` tokens to a neighbour: a heading to what follows, others to what precedes."""
    result: list[Span] = []
    for piece in pieces:
        if result:
            joined = _joined([result[-1], piece])
            belongs_before = piece.tokens <= small and piece.start not in heading_starts
            if limits.allow(joined) and (belongs_before or result[-1].tokens <= small):
                result[-1] = joined
                continue
        result.append(piece)
    return result


def windows(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of consecutive windows of at most ``size`` characters that cover a stretch of text.

    A window ends at a paragraph, a line or a word where one ends in its second half.
    """
    while end - start > size:
        cut = _best_cut(text, start + size // 2, start + size)
        yield start, cut
        start = cut
    yield start, end


def _pack_tree(tree: list[_Node], limits: ChunkLimits) -> list[Span]:
    """Pack a section, which comes first, with its descendants."""
    whole = _joined([node.span for node in tree])
    if limits.allow(whole) or len(tree) == 1:
        return [whole]
    packed = [tree[0].span]
    for child in _children(tree[1:]):
        packed += _pack_tree(child, limits)
    return _join_tiny(packed, limits)


def _children(descendants: list[_Node]) -> list[list[_Node]]:
    children: list[list[_Node]] = []
    for node in descendants:
        if children and node.level > children[-1][0].level:
            children[-1].append(node)
        else:
            children.append([node])
    return children


def _join_tiny(spans: list[Span], limits: ChunkLimits) -> list[Span]:
    """Join a tiny span to its neighbour if both fit, or if the neighbour will be split anyway."""
    result = [spans[0]]
    for span in spans[1:]:
        joined = _joined([result[-1], span])
        tiny, large = sorted((result[-1].tokens, span.tokens))
        if _TINY_SHARE * tiny < limits.tokens and (limits.allow(joined) or large > limits.tokens):
            result[-1] = joined
        else:
            result.append(span)
    return result


def _joined(spans: list[Span]) -> Span:
    return Span(spans[0].start, spans[-1].end, sum(span.tokens for span in spans))


def _best_cut(text: str, earliest: int, latest: int) -> int:
    for boundary in _BOUNDARIES:
        found = text.rfind(boundary, earliest, latest)
        if found >= 0:
            return found + len(boundary)
    return latest
