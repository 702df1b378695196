"""The passage of a chunk that a search shows: whole sentences, from where the words of the query begin."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

SNIPPET_CHARACTERS = 400
# An answer follows what it answers, so words near the end of a passage count less: what they lead to is cut off.
_LATE, _LATE_WEIGHT = 0.6, 0.4
# A passage that is shorter than this share is filled up with a part of the next sentence.
_SHORT = 0.6
# "batch" is "batching", and "log" is "logs". Words as short as "how" and "the" say little.
_STEM_LETTERS = 5
_LITTLE_LETTERS, _LITTLE_WEIGHT = 3, 0.3
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+#>|]|\d+[.)]\s))")
_SENTENCE_END = re.compile(r"""[.!?…]["')\]»”\u2019]*\s+(?![a-z])|[。\uff01\uff1f]""")


def snippet(text: str, query: str) -> str:
    """The passage of a text that says most about a query, on one line, with ``…`` where it is cut."""
    flat, starts = _sentences(text)
    if len(flat) <= SNIPPET_CHARACTERS:
        return flat
    wanted = {stem for _, stem in _stems(query)}
    found = [(at, stem) for at, stem in _stems(flat) if stem in wanted]
    weights = {stem: _weight(stem) / count**0.5 for stem, count in Counter(stem for _, stem in found).items()}

    def worth(start: int) -> tuple[float, bool, int]:
        end = _end(flat, starts, start)
        first = {stem: at - start for at, stem in reversed(found) if start <= at < end}
        soon = SNIPPET_CHARACTERS if end == len(flat) else _LATE * SNIPPET_CHARACTERS
        score = sum(weights[stem] * (1.0 if at < soon else _LATE_WEIGHT) for stem, at in first.items())
        return round(score, 6), min(first.values(), default=len(flat)) < SNIPPET_CHARACTERS // 4, -start

    start = max(starts, key=worth)
    end = _end(flat, starts, start)
    if end == len(flat):
        start = starts[min(bisect_right(starts, end - SNIPPET_CHARACTERS - 1), starts.index(start))]
    return f"{'…' if start else ''}{flat[start:end]}{'…' if end < len(flat) else ''}"


def query_words(text: str) -> list[str]:
    """The words of a text in lower case, for highlighting."""
    return [word.lower() for word in re.findall(r"\w{3,}", text)]


def _sentences(text: str) -> tuple[str, list[int]]:
    """The text on one line, and where a passage of it may begin, in ascending order."""
    blocks = list(filter(None, (" ".join(block.split()) for block in _BLOCK.split(text))))
    starts: list[int] = []
    at = 0
    for block in blocks:
        sentences = [0, *(end.end() for end in _SENTENCE_END.finditer(block) if end.end() < len(block))]
        for start, end in zip(sentences, [*sentences[1:], len(block)], strict=True):
            starts += (at + start + each for each in _inside(block[start:end]))
        at += len(block) + 1
    return " ".join(blocks), starts


def _inside(sentence: str) -> Iterator[int]:
    """Where a passage may begin in a sentence: where it begins, and at words of one that is too long for a passage."""
    yield 0
    if len(sentence) > SNIPPET_CHARACTERS:
        step = SNIPPET_CHARACTERS // 4
        for begin in range(step, len(sentence), step):
            space = sentence.find(" ", begin, begin + step)
            yield begin if space < 0 else space + 1


def _end(flat: str, starts: Sequence[int], start: int) -> int:
    """Where a passage ends: with a sentence, unless that leaves it too short."""
    limit = start + SNIPPET_CHARACTERS
    if limit >= len(flat):
        return len(flat)
    whole = starts[bisect_right(starts, limit) - 1]
    if whole - start >= _SHORT * SNIPPET_CHARACTERS:
        return whole
    space = flat.rfind(" ", start + 1, limit + 1)
    return limit if space < 0 else space


def _stems(text: str) -> Iterator[tuple[int, str]]:
    """Where each word begins, and what it shares with its other forms; pairs of letters of scripts without spaces."""
    for word in _WORD.finditer(text):
        shown = word[0].lower()
        if len(shown) == 1 or not "\u3040" <= shown[0] <= "\u9fff":
            yield word.start(), shown[:_STEM_LETTERS]
        else:
            yield from ((word.start() + at, shown[at : at + 2]) for at in range(len(shown) - 1))


def _weight(stem: str) -> float:
    return _LITTLE_WEIGHT if len(stem) <= _LITTLE_LETTERS and stem.isascii() else 1.0
